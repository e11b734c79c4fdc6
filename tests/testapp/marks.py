"""Marks of receivers, outside of any transaction: key, process and time of a run."""

from __future__ import annotations

import os
import time
from pathlib import Path


def folder() -> Path:
    """Return the folder of the marks, which all processes of a test run share."""
    return Path(os.environ["TEST_MARKS"])


def mark(what: str, key: object) -> None:
    """Note that a receiver was started, in one line that no rollback removes."""
    if "TEST_MARKS" not in os.environ:
        return
    with (folder() / what).open("a") as file:
        file.write(f"{key} {os.getpid()} {time.time()}\n")


def clear() -> None:
    """Remove all marks."""
    for path in folder().iterdir():
        path.unlink()
