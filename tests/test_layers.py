"""The layers that pyproject.toml draws are kept."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

CONFIGURATION = Path(__file__).parents[1] / "pyproject.toml"


def test_import_contracts_are_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGURATION.parent)
    failed = lint_imports(config_filename=str(CONFIGURATION), no_cache=True, no_logo=True)
    report = capsys.readouterr().out
    assert not failed, report
    assert " kept, 0 broken" in report, report
