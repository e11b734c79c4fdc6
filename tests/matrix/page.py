"""The page of the documentation that tells what was tried, and what was not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.matrix.combinations import Combination

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"


@dataclass(frozen=True)
class Result:
    """The end of one combination: versions, an error or a missing thing."""

    combination: Combination
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""
    missing: str = ""

    @property
    def word(self) -> str:
        """Return the result in a word or two."""
        if self.missing:
            return "not run"
        return "failed" if self.error else "passed"

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the row of the table: the versions that ran, or those asked for."""
        asked, ran = self.combination, self.versions
        if not ran:
            reason = f"not run: {self.missing}" if self.missing else "failed"
            return asked.python, asked.django, asked.celery, asked.driver, "", reason
        return (
            ran["python"],
            ran["Django"],
            f"{ran['celery']} (kombu {ran['kombu']})",
            _driver(asked.driver, ran),
            _server(ran["server"]),
            "passed",
        )


def _driver(name: str, ran: dict[str, str]) -> str:
    packages = [k for k in ran if k.startswith(("psycopg", "PyMySQL", "mysqlclient"))]
    return name + "".join(f" ({ran[package]})" for package in packages)


def _server(text: str) -> str:
    """Return name and version of the server, without how it was compiled."""
    if text.startswith("PostgreSQL"):
        return " ".join(text.split()[:2])
    number = re.match(r"[\d.]+", text)
    name = "MariaDB" if "MariaDB" in text else "SQLite"
    return f"{name} {number[0] if number else text}"


def table(results: Sequence[Result]) -> str:
    """Return the table, and a sentence with the sums."""
    return "\n".join(("", _sums(results), "", *_rows(results), ""))


def _sums(results: Iterable[Result]) -> str:
    words = [result.word for result in results]
    sums = ", ".join(
        f"{words.count(word)} {word}" for word in ("passed", "failed", "not run")
    )
    return f"Of {len(words)} combinations: {sums}."


def _rows(results: Iterable[Result]) -> Iterator[str]:
    yield "| Python | Django | Celery | driver | server | result |"
    yield "|---|---|---|---|---|---|"
    for result in results:
        yield f"| {' | '.join(result.cells)} |"


def write(results: Sequence[Result]) -> None:
    """Put the table between the markers of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}")
