"""What is logged in this process that no input may lead to."""

import logging


class Errors(logging.Handler):
    """Keeps errors, and whatever has a traceback, for the length of a block. asyncio logs there what nobody handles."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def __enter__(self) -> "Errors":
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by ``logging``."""
        if record.levelno >= logging.ERROR or record.exc_info:
            self.messages.append(self.format(record))
