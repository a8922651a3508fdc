"""``atomix-election new-token``: make a token, and the line by which an access file knows it.

With ``--json`` it prints one object, with the digest, never the token::

    {"file": str, "token_sha256": str}
"""

import json
import os

import click

from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import json_option
from atomix_election.core.access import digest_of
from atomix_election.errors import InvalidRequest
from atomix_election.tokens import new_token


@subcommand("new-token")
@click.argument("file", metavar="FILE", help="where to write it; must not exist, only its owner may read it")
@json_option
def command(file: str, as_json: bool) -> int:
    """Run it, and return the exit status."""
    token = new_token()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(f"{token}\n")
    digest = digest_of(token).hex()
    print(json.dumps({"file": file, "token_sha256": digest}) if as_json else f'token_sha256 = ["{digest}"]')
    return 0
