"""What a client's request says of itself in its headers."""

from collections.abc import Iterable

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from atomix_election.rpc.call import ELECTION_KEY, PROTOCOL_KEY, TIMEOUT_KEY, encode_timeout
from atomix_election.rpc.header_blocks import OPERATION_KEY
from atomix_election.rpc.http2_connection import Headers
from atomix_election.rpc.methods import Method
from atomix_election.rpc.protocol import SPOKEN, is_ours

_DIFFERENT_EACH_TIME = {ELECTION_KEY, TIMEOUT_KEY, OPERATION_KEY}


def request_headers(
    method: Method, scheme: str, authority: str, metadata: Headers, credentials: Headers, timeout_s: float | None
) -> Headers:
    """Return all headers of a request.

    Args:
        method: what is called.
        scheme: of the URL.
        authority: which server it is for.
        metadata: what the call says of itself.
        credentials: who makes it.
        timeout_s: how long it may take; None where that is not limited.
    """
    headers = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", method.path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *metadata,
        *credentials,
    ]
    if is_ours(method):
        headers.append((PROTOCOL_KEY, str(SPOKEN)))
    if timeout_s is not None:
        headers.append((TIMEOUT_KEY, encode_timeout(timeout_s)))
    return headers


def lasting_only(headers: Headers) -> Iterable[HeaderTuple]:
    """Return headers so that HPACK's table is not filled with what differs from call to call."""
    for name, value in headers:
        kind = NeverIndexedHeaderTuple if name in _DIFFERENT_EACH_TIME else HeaderTuple
        yield kind(name.encode(), value.encode())
