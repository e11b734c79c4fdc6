"""The marks that receivers leave in files: an order and a time, sixteen bytes each."""

from __future__ import annotations

import os
from pathlib import Path

MARK_BYTES = 16


class Marks:
    """The files of one contender's marks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def clear(self) -> None:
        """Empty the files, which receivers may have open."""
        for path in self.folder.iterdir():
            os.truncate(path, 0)

    def started(self) -> int:
        """Return how many receivers have started."""
        sizes = [path.stat().st_size for path in self.folder.glob("ran.*")]
        return sum(sizes) // MARK_BYTES

    def read(self, kind: str) -> list[tuple[int, int]]:
        """Return pairs of order and time (nanoseconds), in the order of time."""
        data = b"".join(path.read_bytes() for path in self.folder.glob(f"{kind}.*"))
        marks = [
            (
                int.from_bytes(data[n : n + 8], "little"),
                int.from_bytes(data[n + 8 : n + 16], "little"),
            )
            for n in range(0, len(data), MARK_BYTES)
        ]
        return sorted(marks, key=lambda pair: pair[1])
