"""Code of pages that is a file of its own, which a test runs.

A code host shows no includes, so the page has the code itself, under a comment that names
the file. ``python -m tests.docs.included`` writes the files into the pages again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: A comment with the path of a file, and the block under it.
INCLUDED = re.compile(
    r"(?P<comment><!-- (?P<path>docs/\S+) -->\n+```[^\n]*\n)(?P<code>.*?)(?P<end>^```$)",
    re.DOTALL | re.MULTILINE,
)


def pages() -> Iterator[Path]:
    """Yield every page of the documentation."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def with_files(text: str) -> str:
    """Return the text of a page with the files as they are now."""

    def fill(found: re.Match[str]) -> str:
        code = (ROOT / found["path"]).read_text().rstrip("\n")
        return f"{found['comment']}{code}\n{found['end']}"

    return INCLUDED.sub(fill, text)


def main() -> None:
    """Write the files into the pages."""
    for page in pages():
        text = page.read_text()
        if (new := with_files(text)) != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
