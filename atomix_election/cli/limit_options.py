"""Options for the limits of a server."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import click

from atomix_election.cli.frame import Option
from atomix_election.cli.values import at_least_one, seconds

_LimitsT = TypeVar("_LimitsT")


def limit_options(kind: type[Any], section: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator that adds an option for each field of a class of limits; the field says what it limits."""

    def add(function: Callable[..., int]) -> Callable[..., int]:
        for each in reversed(fields(kind)):
            is_time = each.name.endswith("_s")
            function = click.option(
                limit_option(each.name),
                each.name,
                cls=Option,
                section=section,
                metavar="SECONDS" if is_time else "N",
                type=seconds if is_time else at_least_one,
                default=each.default,
                show_default=True,
                help=each.metadata["help"],
            )(function)
        return function

    return add


def limit_option(name: str) -> str:
    """Return the option for a limit of that name."""
    return "--" + name.removesuffix("_s").replace("_", "-")


def limits_of(values: Mapping[str, float], kind: type[_LimitsT]) -> _LimitsT:
    """Return the limits that the options say."""
    names: list[str] = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in names})
