"""Values on a command line."""


def seconds(text: str) -> float:
    """Return a number of seconds, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def at_least_one(text: str) -> int:
    """Return a number, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value
