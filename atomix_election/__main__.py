"""``python -m atomix_election`` is the command ``atomix-election``."""

import sys

from atomix_election.cli import main

sys.exit(main())
