"""The journal: records of events that no transaction can roll back.

Each process appends to a file of its own. A record can be read at once, and stays if
its process is killed or its transaction rolled back.
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
class Record:
    """One event in one process."""

    kind: str
    at: float
    pid: int
    facts: dict[str, Any]


def write(kind: str, **facts: object) -> None:
    """Append a record; it is on file when this returns, even if the process dies."""
    pid = os.getpid()
    if _open.get("pid") != pid:
        folder = Path(os.environ["CHAOS_FOLDER"]) / "journal"
        folder.mkdir(exist_ok=True)
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        _open.update(pid=pid, file=os.open(folder / f"{pid}.jsonl", flags, 0o644))
    text = json.dumps([kind, now(), pid, facts], default=str)
    os.write(_open["file"], f"{text}\n".encode())


_open: dict[str, int] = {}


def now() -> float:
    """Return the moment, in seconds that all processes of the machine count alike.

    It is not the time of day, which a fault may set forward or back.
    """
    return time.monotonic()


def read(folder: Path) -> Iterator[Record]:
    """Return the records of all processes, ordered by time."""
    texts = [
        text
        for path in (folder / "journal").glob("*.jsonl")
        for text in path.read_text().splitlines()
    ]
    records = (Record(*json.loads(text)) for text in texts)
    return iter(sorted(records, key=lambda record: record.at))
