"""The access file: TOML text becomes ``Access``, or is refused with a line and a reason.

[principals.reporting]
token_sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
certificate = ["DNS:reporting.example"]
take_part = ["reports"]
observe = ["*"]
"""

import re
import tomllib
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from atomix_election.core.access import EVERY_NAMESPACE, Access, Principal, Role
from atomix_election.errors import InvalidRequest
from atomix_election.model import check_metadata_id

MAX_TOKENS = 1000
"""Tokens in one file; a call's token is compared with each."""
CERTIFICATE_NAME_KINDS = ("CN", "DNS", "URI", "email")
"""Kinds of names in a certificate that can stand for a principal: the subject's common name, alternative names."""

_TABLE = "principals"
_TOKENS, _CERTIFICATES = "token_sha256", "certificate"
_ROLES = {role.name.lower(): role for role in Role}
_KEYS = (_TOKENS, _CERTIFICATES, *_ROLES)
_DIGEST = re.compile(r"[0-9a-f]{64}")

_ValueT = TypeVar("_ValueT")


def parse_access(text: str) -> Access:
    """Return what an access file says.

    Raises:
        InvalidRequest: it is malformed; the message says at which line.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # tomllib says where. The cause is left out, as newer versions have it carry the whole text.
        raise InvalidRequest(f"this is not TOML: {error.args[0]}") from None
    return _Parser(text).access(data)


class _Parser:
    """Checks what TOML cannot, and knows where it stands."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._owner_of: dict[object, str] = {}

    def access(self, data: dict[str, Any]) -> Access:
        for key in data:
            if key != _TABLE:
                self._refuse(f"{key!a} is not known, a principal is a table [{_TABLE}.NAME]", key)
        tables: Any = data.get(_TABLE)
        if not isinstance(tables, dict) or not tables:
            self._refuse(f"there are no principals: each is a table [{_TABLE}.NAME]", _TABLE)
        found = cast(dict[str, Any], tables)
        access = Access(tuple(self._principal(name, table) for name, table in found.items()))
        tokens = sum(len(each.token_digests) for each in access.principals)
        if tokens > MAX_TOKENS:
            self._refuse(f"there are {tokens} tokens, the limit is {MAX_TOKENS}", _TABLE)
        return access

    def _principal(self, name: str, table: Any) -> Principal:
        if not isinstance(table, dict):
            self._refuse(f"{name!a} is not a table [{_TABLE}.NAME]", name)
        self._check(lambda: check_metadata_id("a principal's name", name), name)
        for key in cast(dict[str, Any], table):
            if key not in _KEYS:
                self._refuse(f"{key!a} is not known, known are {', '.join(_KEYS)}", name, key)
        values = {key: self._texts(name, key, cast(Any, table)) for key in _KEYS}
        if not values[_TOKENS] and not values[_CERTIFICATES]:
            self._refuse(f"{name} has neither {_TOKENS} nor {_CERTIFICATES}: nobody could prove to be it", name)
        roles = self._roles(name, values)
        if not roles:
            self._refuse(f"{name} has no role: give it one of {', '.join(_ROLES)}, with namespaces", name)
        return Principal(
            name,
            roles,
            frozenset(self._own(name, _TOKENS, self._digest(name, each)) for each in values[_TOKENS]),
            frozenset(self._own(name, _CERTIFICATES, self._name(name, each)) for each in values[_CERTIFICATES]),
        )

    def _texts(self, name: str, key: str, table: dict[str, Any]) -> list[str]:
        value: Any = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in cast(list[object], value)):
            self._refuse(f"{key} must be a list of strings", name, key)
        return cast(list[str], value)

    def _roles(self, name: str, values: dict[str, list[str]]) -> dict[str, Role]:
        roles: dict[str, Role] = {}
        for key, role in _ROLES.items():
            for namespace in values[key]:
                if namespace != EVERY_NAMESPACE:
                    self._check(lambda each=namespace: check_metadata_id("a namespace", each), name, key)
                roles[namespace] = max(role, roles.get(namespace, role))
        return roles

    def _digest(self, name: str, value: str) -> bytes:
        if not _DIGEST.fullmatch(value):  # it may be a token itself, so it is not shown
            self._refuse(f"{_TOKENS} must be 64 lower-case hexadecimal digits, the SHA-256 of a token", name, _TOKENS)
        return bytes.fromhex(value)

    def _name(self, name: str, value: str) -> str:
        kind, _, rest = value.partition(":")
        if kind not in CERTIFICATE_NAME_KINDS or not rest:
            kinds = ", ".join(f"{each}:…" for each in CERTIFICATE_NAME_KINDS)
            self._refuse(f"{value!a} is no name of a certificate, which are {kinds}", name, _CERTIFICATES)
        return value

    def _own(self, name: str, key: str, value: _ValueT) -> _ValueT:
        owner = self._owner_of.setdefault(value, name)
        if owner != name:
            self._refuse(f"{name} and {owner} have the same {key}", name, key)
        return value

    def _check(self, check: Callable[[], object], name: str, key: str | None = None) -> None:
        try:
            check()
        except InvalidRequest as error:
            self._refuse(str(error), name, key)

    def _refuse(self, reason: str, table: str, key: str | None = None) -> NoReturn:
        raise InvalidRequest(f"line {self._line_of(table, key)}: {reason}")

    def _line_of(self, table: str, key: str | None) -> int:
        """Return the line where a principal, or a key of it, begins; 1 where it is written in another way."""
        header = re.compile(rf"""\s*\[?\s*(?:{_TABLE}\s*\.\s*)?["']?{re.escape(table)}["']?\s*[\]=.]""")
        found = next((at for at, line in enumerate(self._lines) if header.match(line)), 0)
        if key is not None:
            begins = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
            found = next((at for at, line in enumerate(self._lines[found:], found) if begins.match(line)), found)
        return found + 1
