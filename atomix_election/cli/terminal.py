"""What a command may draw on."""

import os
from typing import TextIO


def is_drawn_on(stream: TextIO) -> bool:
    """Whether a stream is a terminal where the same lines can be written anew."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
