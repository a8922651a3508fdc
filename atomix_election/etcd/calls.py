"""Calls to etcd: which member gets them, with which credentials, how long they may take, and which are repeated."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import anyio
import betterproto2

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.connection import EtcdConnection, Protocol
from atomix_election.etcd.errors import EtcdMalformed, EtcdOutcomeUnknown, EtcdUnavailable
from atomix_election.etcd.exchange import Exchange, Garbled, Lost, Method, Refused
from atomix_election.etcd.refusals import (
    AUTH_NOT_ENABLED,
    error_of,
    is_before_anything,
    is_stale_token,
    is_transient,
)
from atomix_election.etcd.settings import Settings
from atomix_election.etcd.values import Endpoint
from atomix_election.tasks import Pauses

MAX_CALLS = 64
"""How many calls are under way at a time; others wait. Fewer than the streams that a member may allow a connection."""

_AUTHENTICATE = Method("Auth", "Authenticate", pb.AuthenticateResponse)

log: logging.Logger = logging.getLogger(__name__)
_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


@dataclass(slots=True)
class _Attempt:
    """One try of a call."""

    endpoint: Endpoint
    exchange: Exchange[Any] | None = None
    token: str = ""

    @property
    def may_have_changed(self) -> bool:
        """Whether etcd may have got it."""
        return self.exchange is not None and self.exchange.sent


class Calls:
    """Makes calls on one connection, and moves to another member when one does not answer."""

    def __init__(self, settings: Settings) -> None:
        first = int(settings.chance() * len(settings.endpoints)) % len(settings.endpoints)
        self.settings = settings
        self.connection: EtcdConnection = EtcdConnection(settings.endpoints, settings.tls, first=first)
        self._pauses = Pauses(settings.longest_pause_s, settings.chance)
        self._room = anyio.CapacityLimiter(MAX_CALLS)
        self._token = ""
        self._users_matter = bool(settings.user)
        self._authenticating = anyio.Lock()

    async def call(
        self,
        method: Method[_MessageT],
        request: betterproto2.Message,
        *,
        write: bool = False,
        leader: bool = True,
        timeout_s: float | None = None,
    ) -> _MessageT:
        """Make a call and return its answer.

        Args:
            method: what is called.
            request: what is sent.
            write: whether it may change something: then it is repeated only while it has certainly changed nothing.
            leader: whether a member that knows of no leader is of use.
            timeout_s: how long it may take with all its tries; None for what the settings say.

        Raises:
            EtcdUnavailable: no member answered in time; nothing was changed.
            EtcdOutcomeUnknown: a write was sent, and there is no answer to it.
            EtcdMalformed: the answer to a read is not etcd's.
            EtcdRefused: etcd refused it.
        """
        timeout_s = self.settings.call_timeout_s if timeout_s is None else timeout_s
        limit_s = min(self.settings.attempt_timeout_s, timeout_s / self.connection.size)
        attempt = _Attempt(self.connection.endpoint)
        failures: dict[Endpoint, str] = {}
        with anyio.move_on_after(timeout_s):
            async with self._room:
                renewed = False
                for number in count():
                    attempt = _Attempt(self.connection.endpoint)
                    try:
                        return await self._once(attempt, method, request, limit_s, leader=leader)
                    except Refused as refused:
                        renewed = self._judge(method, attempt, refused, renewed=renewed)
                        failures[attempt.endpoint] = str(refused)
                    except (Lost, EtcdUnavailable) as error:
                        failures[attempt.endpoint] = str(error).removeprefix(f"{attempt.endpoint}: ")
                        if isinstance(error, Garbled) and not write:
                            raise EtcdMalformed(f"{method.name} at {attempt.endpoint}: {error}") from error
                    if write and attempt.may_have_changed:
                        raise _unknown(method, attempt.endpoint, failures[attempt.endpoint])
                    if self.connection.is_closed:
                        raise EtcdUnavailable(f"{method.name}: the client of etcd is closed; nothing was changed")
                    await self.pause(number)
        if write and attempt.may_have_changed:
            raise _unknown(method, attempt.endpoint, f"no answer within {timeout_s:g} s")
        raise _unavailable(method, timeout_s, {attempt.endpoint: "no answer", **failures}, write=write)

    async def stream(self, method: Method[_MessageT]) -> Exchange[_MessageT]:
        """Open a call in both directions, at one member. Whoever asked for it closes it.

        Where there are users it gets a new token: etcd calls it a lack of permission when a stream's has expired.

        Raises:
            Lost: the member does not answer; the next try is with another one.
            Refused: etcd refused it.
            EtcdUnavailable: the member could not be connected to; the next try is with another one.
        """
        endpoint, limit_s = self.connection.endpoint, self.settings.attempt_timeout_s
        protocol: Protocol | None = None
        with anyio.move_on_after(limit_s):
            protocol = await self.connection.get()
            self._token = ""
            token = await self._get_token(protocol)
            exchange = Exchange(protocol, method, self._headers(token, leader=True))
            await exchange.open()
            return exchange
        if protocol is not None:
            self.move_on(protocol)
        raise Lost(f"{endpoint}: no answer within {limit_s:g} s")

    def move_on(self, protocol: Protocol) -> None:
        """Use another member from now on: this one does not answer, or cannot.

        Where there is only one, a new connection may lead somewhere if nothing at all has come over this one.
        """
        if self.connection.size > 1 or protocol.silent_s >= self.settings.attempt_timeout_s:
            self.connection.give_up(protocol)

    async def pause(self, attempt: int) -> None:
        """Wait after a try, of which the first has number 0: not before every member had its turn."""
        rounds, turn = divmod(attempt + 1, self.connection.size)
        await anyio.sleep(0 if turn else self._pauses.after(rounds - 1))

    async def _once(
        self,
        attempt: _Attempt,
        method: Method[_MessageT],
        request: betterproto2.Message,
        limit_s: float,
        *,
        leader: bool,
    ) -> _MessageT:
        protocol: Protocol | None = None
        with anyio.move_on_after(limit_s):
            protocol = await self.connection.get()
            attempt.endpoint = protocol.endpoint
            attempt.token = await self._get_token(protocol)
            attempt.exchange = Exchange(protocol, method, self._headers(attempt.token, leader=leader))
            return await _unary(attempt.exchange, request)
        if protocol is not None:
            self.move_on(protocol)
        raise Lost(f"no answer within {limit_s:g} s")

    def _judge(self, method: Method[Any], attempt: _Attempt, refused: Refused, *, renewed: bool) -> bool:
        """Raise what etcd refused for good; return whether the token has been renewed by now."""
        if self.settings.user and not renewed and is_stale_token(refused):
            if self._token == attempt.token:
                self._token = ""
            self._users_matter = True
            attempt.exchange = None
            return True
        if not is_transient(refused):
            raise error_of(method.name, attempt.endpoint, refused)
        if attempt.exchange is not None:
            self.move_on(attempt.exchange.protocol)
        if is_before_anything(refused):
            attempt.exchange = None
        return renewed

    def _headers(self, token: str, *, leader: bool) -> list[tuple[str, str]]:
        headers = [(":scheme", self.connection.scheme)]
        if leader:
            headers.append(("hasleader", "true"))
        if token:
            headers.append(("token", token))
        return headers

    async def _get_token(self, protocol: Protocol) -> str:
        """Return the token of the user, asked for if there is none; "" where there are no users."""
        if not self._users_matter or self._token:
            return self._token
        async with self._authenticating:
            if not self._token:
                request = pb.AuthenticateRequest(self.settings.user, self.settings.password)
                exchange = Exchange(protocol, _AUTHENTICATE, self._headers("", leader=False))
                try:
                    self._token = (await _unary(exchange, request)).token
                except Refused as refused:
                    if AUTH_NOT_ENABLED not in refused.message:
                        raise
                    log.warning("etcd has no users: the user %s is not needed", self.settings.user)
                    self._users_matter = False
            return self._token


async def _unary(exchange: Exchange[_MessageT], request: betterproto2.Message) -> _MessageT:
    try:
        await exchange.open()
        await exchange.send(request, end=True)
        answer = await exchange.receive()
        if answer is None or await exchange.receive() is not None:
            raise Garbled("the answer is not one message")
        return answer
    finally:
        exchange.close()


def _unavailable(
    method: Method[Any], timeout_s: float, failures: Mapping[Endpoint, str], *, write: bool
) -> EtcdUnavailable:
    return EtcdUnavailable(
        f"{method.name}: etcd did not answer within {timeout_s:g} s{', and nothing was changed' if write else ''} "
        f"({'; '.join(f'{endpoint}: {why}' for endpoint, why in failures.items())})"
    )


def _unknown(method: Method[Any], endpoint: Endpoint, why: str) -> EtcdOutcomeUnknown:
    return EtcdOutcomeUnknown(
        f"{method.name}: sent to etcd at {endpoint}, but there is no answer ({why}): "
        "it may have been carried out; read what it would have changed to find out"
    )
