"""How commands log: the package itself only writes to its loggers, and leaves them as they are."""

import logging
from collections.abc import Sequence

from atomix_election.errors import InvalidRequest

FORMATS: Sequence[str] = ("text", "json")
LEVELS: Sequence[str] = ("debug", "info", "warning", "error")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JSON = ("timestamp", "levelname", "name", "message")


def configure_logging(log_format: str, level: str) -> None:
    """Log to stderr.

    Args:
        log_format: ``text``, or ``json``: one object a line, with the facts of an event as members of their own.
        level: the least that is logged of this package; of others never less than info, as what they log for debugging
            has the headers of calls in it, and with them session ids and tokens.

    Raises:
        InvalidRequest: the package for JSON is not installed.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_json_formatter() if log_format == "json" else logging.Formatter(_TEXT))
    threshold = getattr(logging, level.upper())
    logging.basicConfig(level=max(threshold, logging.INFO), handlers=[handler])
    logging.getLogger("atomix_election").setLevel(threshold)


def _json_formatter() -> logging.Formatter:
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError as error:
        raise InvalidRequest(
            "--log-format json needs the package python-json-logger: "
            "install it with pip install 'atomix-election[server]'"
        ) from error
    return JsonFormatter(_JSON, timestamp=True, rename_fields={"levelname": "level", "name": "logger"})
