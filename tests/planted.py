"""Examples as modules, also with a bug that is planted for a test to find."""

from pathlib import Path
from types import ModuleType
from typing import Any


def module_of(path: Path, right: str = "", wrong: str = "") -> Any:
    """Run a file as a module; put something wrong in place of what is right, which stands there once."""
    text = path.read_text()
    if right:
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    module = ModuleType(path.stem)
    exec(compile(text, path, "exec"), module.__dict__)
    return module
