"""``.ci/audit.py`` takes no silence for good news."""

from __future__ import annotations

import json
from datetime import UTC, datetime
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


@pytest.fixture
def pins(audit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of pins, and a record of answers of which there are none yet."""
    kept = json.loads(audit.RECORD.read_text())
    record = tmp_path / "audited.json"
    record.write_text(json.dumps(dict(kept, answered=None)))
    monkeypatch.setattr(audit, "RECORD", record)
    path = tmp_path / "requirements.txt"
    path.write_text("fine==1\n")
    return path


def test_no_answer_is_pretended_before_there_was_one(audit: Any, pins: Path) -> None:
    assert audit.last_answer(pins) == "No answer of the service has been recorded yet."


def test_silence_tells_the_day_of_the_last_answer(audit: Any, pins: Path) -> None:
    audit.record(pins, [FINE, BAD])
    today = datetime.now(UTC).date().isoformat()
    told = audit.last_answer(pins)
    assert told == f"It last answered on {today}, for these pins; vulnerable: bad."
    pins.write_text("fine==2\n")
    assert "for other pins than these" in audit.last_answer(pins)


def test_the_record_in_the_repository_can_be_read(audit: Any) -> None:
    assert audit.last_answer(FILE.parents[1] / "requirements.txt")
