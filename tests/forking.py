"""What a forked child finds, for tests."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

WAIT_S = 15.0
"""How long a child may look; one that hangs is killed then."""


def in_child(look: Callable[[], object]) -> Any:
    """Fork, look at something in the child, and return what it found."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(int(WAIT_S))
            os.write(writer, json.dumps(look()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        found = json.load(answer)
    os.waitpid(child, 0)
    return found


def outcome(attempt: Callable[[], object]) -> str:
    """Return the name of the error that something ends with."""
    try:
        attempt()
    except Exception as error:  # noqa: BLE001 - its name is what is asked
        return type(error).__name__
    return "no error"
