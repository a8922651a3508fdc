"""``atomix-election new-token``: make a token, and the line by which an access file knows it."""

import argparse
import os

from atomix_election.core.access import digest_of
from atomix_election.errors import InvalidRequest
from atomix_election.tokens import new_token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", metavar="FILE", help="where to write it; must not exist, only its owner may read it")


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    token = new_token()
    try:
        file = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidRequest(f"{options.file} cannot be made: {error.strerror}") from error
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(f"{token}\n")
    print(f'token_sha256 = ["{digest_of(token).hex()}"]')
    return 0
