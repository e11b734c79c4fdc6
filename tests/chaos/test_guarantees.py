"""Every test, fault and crash point that the documents name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chaos.crash_points import CrashPoint
from tests.chaos.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "guarantees.md").read_text()
OTHERS = [
    (ROOT / "docs" / name).read_text() for name in ("security.md", "reliability.md")
]
PROMISES = [f"P{number}" for number in range(1, 17)]


def named_in(document: str) -> Iterator[tuple[str, str]]:
    """Yield files under ``tests/`` with tests in them; ``::test`` is in the last file."""
    file = ""
    for found in re.finditer(r"`((?:\w+/)+\w+\.py)?(?:::(\w+))?`", document):
        file = found[1] or file
        if (ROOT / "tests" / file).is_file() or found[2]:
            yield file, found[2] or ""


NAMED = sorted({named for text in (DOCUMENT, *OTHERS) for named in named_in(text)})


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_is_named_exists(file: str, name: str) -> None:
    assert not name or f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_many_tests_are_named() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_is_named_with_what_shows_it(promise: str) -> None:
    (line,) = re.findall(rf"^\| {promise} \|.*$", DOCUMENT, re.MULTILINE)
    assert "::test_" in line


@pytest.mark.parametrize("point", CrashPoint)
def test_each_crash_point_is_in_the_timeline(point: CrashPoint) -> None:
    assert f"│ {point.name} " in DOCUMENT


def test_each_fault_that_is_named_exists() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "chaos", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    faults = {line.split()[1] for line in listed.splitlines()}
    text = " ".join((DOCUMENT, *OTHERS))
    lists = re.findall(r"[Ff]aults? ((?:`[\w-]+`(?:, | and )?)+)", text)
    named = {name for text in lists for name in re.findall(r"`([\w-]+)`", text)}
    assert len(named) > 20
    assert named <= faults
