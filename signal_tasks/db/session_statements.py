"""Recognise statements that change a session, or end a transaction, by their text."""

from __future__ import annotations

import re
from typing import Any

#: Space and comments before a statement.
SPACE = r"(?>\s|--[^\n]*|/\*.*?\*/)*+"
#: Statements that change a session for longer than their transaction, also behind
#: another statement. To MySQL, LOCAL is another word for SESSION.
CHANGES_SESSION = {
    vendor: re.compile(
        rf"(?:\A|;){SPACE}(?:SET\s+(?!(?:{but})\b)|(?:{others})\b)",
        re.IGNORECASE | re.DOTALL,
    )
    for vendor, but, others in (
        ("postgresql", "LOCAL|TRANSACTION|CONSTRAINTS", "RESET|DISCARD"),
        ("mysql", "TRANSACTION", "USE"),
    )
}
#: ``set_config``, unless it says in its text that it ends with the transaction.
SET_CONFIG = re.compile(
    r"\bset_config\s*\((?![^()]*,\s*'?t(?:rue)?'?\s*\))", re.IGNORECASE
)
ENDS_TRANSACTION = re.compile(
    rf"{SPACE}(?:COMMIT|END|ABORT|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)


def text_of(sql: Any, driver: Any) -> str:
    """Return the text of a statement, which may be composed by psycopg's ``sql``."""
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    return sql if isinstance(sql, str) else str(sql.as_string(driver))


def changes_session(text: str, vendor: str) -> bool:
    """Return True if a statement changes its session for longer than a transaction."""
    if vendor not in CHANGES_SESSION:
        return False
    if CHANGES_SESSION[vendor].search(text):
        return True
    return "set_config" in text.lower() and SET_CONFIG.search(text) is not None


def ends_transaction(text: str) -> bool:
    """Return True if a statement ends the transaction that is open."""
    return ENDS_TRANSACTION.match(text) is not None
