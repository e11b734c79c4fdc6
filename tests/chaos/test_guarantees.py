"""``docs/guarantees.md`` names tests, faults and crash points that exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from chaos.points import Point
from tests.chaos.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11")


@pytest.mark.parametrize(
    "named", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", DOCUMENT)))
)
def test_each_test_that_is_named_exists(named: str) -> None:
    file, _, name = named.partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_is_named_with_what_shows_it(promise: str) -> None:
    (line,) = re.findall(rf"^\| {promise} \|.*$", DOCUMENT, re.MULTILINE)
    assert "::test_" in line


@pytest.mark.parametrize("point", Point)
def test_each_crash_point_is_in_the_timeline(point: Point) -> None:
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
    told = re.findall(r"[Ff]aults? ((?:`[\w-]+`(?:, )?)+)", DOCUMENT)
    named = {name for text in told for name in re.findall(r"`([\w-]+)`", text)}
    assert len(named) > 20
    assert named <= faults
