"""What tests of docs/examples.md share: where the examples are, and how one waits for what they do."""

import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"
LONGEST_S = 20.0
TTL_S = 1.0
"""How long a killed leader is waited for here: the least that a server grants."""


def load(name: str) -> ModuleType:
    """Import an example, which stands in no package."""
    specification = spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def until(what: Callable[[], object]) -> None:
    """Wait for what nobody tells, a table for example."""
    deadline = time.monotonic() + LONGEST_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)
