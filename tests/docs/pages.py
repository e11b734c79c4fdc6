"""The files and commands of a page, in its order, as its reader makes and types them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"`((?:\w+/)*\w+\.py)`")


@dataclass(frozen=True)
class File:
    """A file that the page has its reader write, or add to."""

    path: str
    code: str
    is_added: bool

    def write(self, folder: Path) -> None:
        """Write it, or add to it."""
        file = folder / self.path
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if self.is_added else ""
        file.write_text(before + self.code)


@dataclass(frozen=True)
class Command:
    """A line that the reader types into a shell."""

    line: str


def steps(page: str) -> Iterator[File | Command]:
    """Yield what the reader does: Python blocks are files, console blocks are commands.

    The path of a file is the last one before its block, and its paragraph says if the
    code is to be added to the end.
    """
    for block in BLOCK.finditer(page):
        language, text = block.groups()
        before = page[: block.start()].rstrip().rpartition("\n\n")[2]
        if language == "console":
            for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
                yield Command(line)
        elif language == "python" and (paths := FILE.findall(before)):
            yield File(paths[-1], text, "to the end of" in before)
