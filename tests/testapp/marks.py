"""Marks that receivers leave outside of any transaction: who ran, where and when."""

from __future__ import annotations

import os
import time
from pathlib import Path


def folder() -> Path:
    """The folder of the marks, common to all processes of a test run."""
    return Path(os.environ["TEST_MARKS"])


def mark(what: str, key: object) -> None:
    """Say that a receiver was started, in one line that no rollback removes."""
    if "TEST_MARKS" not in os.environ:
        return
    with (folder() / what).open("a") as file:
        file.write(f"{key} {os.getpid()} {time.time()}\n")


def clear() -> None:
    """Forget all marks."""
    for path in folder().iterdir():
        path.unlink()
