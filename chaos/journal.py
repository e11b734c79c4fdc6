"""What happened outside of every transaction, one line each, visible at once.

Every process appends to a file of its own; nothing that is rolled back or killed
takes a line away again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened in one process."""

    what: str
    at: float
    pid: int
    facts: dict[str, Any]


def write(what: str, **facts: object) -> None:
    """Append a line; a process that is killed right after has written it."""
    pid = os.getpid()
    if _open.get("pid") != pid:
        folder = Path(os.environ["CHAOS_FOLDER"]) / "journal"
        folder.mkdir(exist_ok=True)
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        _open.update(pid=pid, file=os.open(folder / f"{pid}.jsonl", flags, 0o644))
    text = json.dumps([what, time.time(), pid, facts], default=str)
    os.write(_open["file"], f"{text}\n".encode())


_open: dict[str, int] = {}


def read(folder: Path) -> Iterator[Line]:
    """All lines of all processes, in the order of their times."""
    texts = [
        text
        for path in (folder / "journal").glob("*.jsonl")
        for text in path.read_text().splitlines()
    ]
    lines = (Line(*json.loads(text)) for text in texts)
    return iter(sorted(lines, key=lambda line: line.at))
