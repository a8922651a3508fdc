"""Options for the limits of a server."""

import argparse
from dataclasses import fields
from typing import Any, TypeVar

from atomix_election.cli.values import at_least_one, seconds

_LimitsT = TypeVar("_LimitsT")


def add_limit_options(parser: argparse.ArgumentParser, kind: type[Any], title: str) -> None:
    """Add an option for each field of a class of limits; the field says what it limits."""
    group = parser.add_argument_group(title)
    for each in fields(kind):
        is_time = each.name.endswith("_s")
        group.add_argument(
            limit_option(each.name),
            dest=each.name,
            metavar="SECONDS" if is_time else "N",
            type=seconds if is_time else at_least_one,
            default=each.default,
            help=f"{each.metadata['help']}, default %(default)s",
        )


def limit_option(name: str) -> str:
    """Return the option for a limit of that name."""
    return "--" + name.removesuffix("_s").replace("_", "-")


def limits_of(options: argparse.Namespace, kind: type[_LimitsT]) -> _LimitsT:
    """Return the limits that the options say."""
    names: list[str] = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in names})
