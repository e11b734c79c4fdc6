"""``.ci/audit.py`` takes no silence for good news."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"
FINE = {"name": "fine", "version": "1", "vulns": []}
FLAW = {"id": "PYSEC-1", "fix_versions": ["2"], "description": ""}
BAD = {"name": "bad", "version": "1", "vulns": [FLAW]}
UNASKED = {"name": "unasked", "skip_reason": "not found"}


@pytest.fixture(scope="module")
def audit() -> Any:
    """The script, as a module."""
    spec = spec_from_file_location("audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "status"),
    [
        ([FINE], 0),
        ([FINE, BAD], 1),
        ([UNASKED, BAD], 1),
        ([FINE, UNASKED], 3),
        ([UNASKED], 3),
        ([], 3),
    ],
)
def test_only_packages_that_were_asked_about_are_fine(
    packages: list[dict[str, Any]], status: int, audit: Any
) -> None:
    assert audit.judge(packages) == status


def test_what_is_vulnerable_is_named(
    audit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.judge([FINE, BAD])
    assert "bad: PYSEC-1, fixed in 2" in capsys.readouterr().err
