"""What a process started by systemd is told, and tells: readiness, the watchdog, and sockets that it is handed.

Source: the manual pages sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3), whose protocols are a datagram and
a few variables of the environment. Without these variables everything here does nothing. A library is not used: those
on PyPI need libsystemd's C headers to be built, or are not maintained.
"""

import logging
import os
import socket
from collections.abc import MutableMapping

from atomix_election.errors import InvalidRequest

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"

_FIRST_SOCKET = 3

log: logging.Logger = logging.getLogger(__name__)


def notify(state: str) -> bool:
    """Tell the service manager something, and return whether there is one that was told.

    Args:
        state: assignments, one a line.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # a name in Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(address)
            channel.send(state.encode())
        except OSError as error:
            log.warning("the service manager could not be told %s: %s", state, error)
            return False
    return True


def watchdog_interval_s() -> float | None:
    """Return how often the watchdog wants to be told at the least, in seconds; None where there is none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


def inherited_socket(environment: MutableMapping[str, str] = os.environ) -> socket.socket | None:
    """Return the listening socket that the service manager has opened for this process, or None where it has not.

    The variables that tell of it are removed, as they are not meant for children.

    Raises:
        InvalidRequest: it is not one listening TCP socket.
    """
    mine = environment.get("LISTEN_PID") == str(os.getpid())
    count = environment.get("LISTEN_FDS", "")
    if not mine:
        return None
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    if not count.isdecimal() or not int(count):
        return None
    if int(count) > 1:
        raise InvalidRequest(f"{count} sockets were handed over: give the socket unit one ListenStream alone")
    try:
        listener = socket.socket(fileno=_FIRST_SOCKET)
    except OSError as error:
        raise InvalidRequest(f"LISTEN_FDS is set, but descriptor {_FIRST_SOCKET} is no socket: {error}") from error
    listener.set_inheritable(False)
    is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM
    if not is_tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise InvalidRequest(
            "the socket that was handed over is not a listening TCP socket: use ListenStream=HOST:PORT"
        )
    listener.setblocking(False)
    return listener
