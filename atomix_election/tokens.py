"""Bearer tokens: where a client's comes from. No message, log or repr has one in it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from atomix_election.errors import InvalidRequest, Unauthenticated

TOKEN_BYTES = 32
"""Chance in a new token: too much to be found by trying, also from its digest."""
MAX_TOKEN_CHARACTERS = 4096
"""The longest token: it travels with each call, whose headers are limited."""

Token = str | os.PathLike[str]
"""A ``str`` is the token itself, a ``Path`` the file that it is in."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # token68 of RFC 9110


def new_token() -> str:
    """Return a token that nobody can guess."""
    import secrets  # who only reads tokens does not pay for it

    return secrets.token_urlsafe(TOKEN_BYTES)


def token_source(token: Token) -> Callable[[], str]:
    """Return what gives the token to send, at each call.

    Raises:
        InvalidRequest: it cannot be a token, or the file cannot be read or has none.
    """
    if isinstance(token, str):
        checked = _check_token(token, "the token")
        return lambda: checked
    file = _TokenFile(Path(token))
    try:
        file()
    except Unauthenticated as error:
        raise InvalidRequest(str(error)) from error.__cause__
    return file


class _TokenFile:
    """Reads the file again when it was replaced or changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                text = self._path.read_text(encoding="ascii", errors="replace")
                self._token = _check_token(text.strip(), f"token file {self._path}")
                self._seen = seen
        except OSError as error:
            raise Unauthenticated(f"token file {self._path} cannot be read: {error.strerror or error}") from error
        except InvalidRequest as error:
            raise Unauthenticated(str(error)) from error
        return self._token


def _check_token(token: str, what: str) -> str:
    if not token:
        raise InvalidRequest(f"{what} is empty")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidRequest(f"{what} has {len(token)} characters, the limit is {MAX_TOKEN_CHARACTERS}")
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest(f"{what} has characters that no bearer token has: letters, digits and -._~+/ at most")
    return token
