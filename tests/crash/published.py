"""A client of another make that tries to come back: grpcio, whose calls are given as the bytes that they are."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from atomix_election.testing.history import now

SERVICE = "/atomix.election.v1.LeaderElection/"
CREATE = b"\x0a\x00"
"""A config that is present and empty, as published clients send it."""
PAUSE_S = 0.1
CALL_S = 5.0


@dataclass(slots=True)
class Admission:
    """How a published client got in: the statuses that it was refused with, and when it was let in."""

    refused: list[str] = field(default_factory=list[str])
    details: str = ""
    at: float = 0.0


def come_back(address: str, longest_s: float, ca: str = "", token_file: str = "") -> Admission:
    """Try to open a session until that succeeds, enter, and leave again."""
    admission = Admission()
    metadata = [("primitive-id", "published"), ("application-id", ""), ("session-id", f"published-{time.time_ns()}")]
    if token_file:
        metadata.append(("authorization", f"Bearer {Path(token_file).read_text().strip()}"))

    def call(method: str, body: bytes = b"") -> Any:
        return channel.unary_unary(SERVICE + method)(body, metadata=tuple(metadata), timeout=CALL_S)

    with _channel(address, ca) as channel:
        until = now() + longest_s
        while True:
            try:
                call("Create", CREATE)
                break
            except grpc.RpcError as error:
                admission.refused.append(error.code().name)
                admission.details = error.details() or admission.details
                assert now() < until, f"it was not let in: {admission}"
                time.sleep(PAUSE_S)  # as such clients do, who are told nothing
        admission.at = now()
        assert call("Enter"), "an answer has a term"
        call("Withdraw")
        call("Close")
    return admission


def _channel(address: str, ca: str) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100)]
    if not ca:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(ca).read_bytes()), options)
