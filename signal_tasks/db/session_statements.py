"""Recognise statements that change a session, or end a transaction, by their text."""

from __future__ import annotations

import re
from typing import Any

#: Space and comments before a statement.
SPACE = r"(?>\s|--[^\n]*|/\*.*?\*/)*+"
#: Statements that change a session for longer than their transaction, also behind
#: another statement. To MySQL, LOCAL is another word for SESSION, and mysqlclient cannot
#: tell of a transaction that has begun.
CHANGES_SESSION = {
    vendor: re.compile(
        rf"(?:\A|;){SPACE}(?:SET\s+(?!(?:{but})\b)|(?:{others})\b)",
        re.IGNORECASE | re.DOTALL,
    )
    for vendor, but, others in (
        ("postgresql", "LOCAL|TRANSACTION|CONSTRAINTS", "RESET|DISCARD"),
        ("mysql", "TRANSACTION", r"USE|BEGIN|START\s+TRANSACTION"),
    )
}
#: ``set_config``, unless it says in its text that it ends with the transaction.
SET_CONFIG = re.compile(
    r"\bset_config\s*\((?![^()]*,\s*'?t(?:rue)?'?\s*\))", re.IGNORECASE
)
#: Settings of PostgreSQL that end with their transaction, by the names that it has.
LOCAL = re.compile(
    r"\bSET\s+LOCAL\s+\"?(\w+(?:\.\w+)*)"
    r"|\bset_config\s*\(\s*'([^']+)'[^()]*,\s*'?t(?:rue)?'?\s*\)",
    re.IGNORECASE,
)
SYNONYMS = {"time": "timezone", "session": "session_authorization"}
#: Statements that end the transaction that is open, whether it is asked for or not.
ENDS_TRANSACTION = {
    vendor: re.compile(
        rf"{SPACE}(COMMIT|END|ABORT|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b)"
        rf"{others})\b",
        re.IGNORECASE | re.DOTALL,
    )
    for vendor, others in (
        ("postgresql", ""),
        ("sqlite", ""),
        (
            "mysql",
            r"|BEGIN(?!\s+NOT\b)|START\s+TRANSACTION|LOCK\s+TABLES?|ALTER|RENAME|TRUNCATE"
            r"|(?:CREATE(?:\s+OR\s+REPLACE)?|DROP)(?!\s+(?:OR|TEMPORARY|PREPARE)\b)"
            r"|(?:ANALYZE|CHECK|OPTIMIZE|REPAIR)(?:\s+(?:LOCAL|NO_WRITE_TO_BINLOG))?"
            r"\s+TABLES?|FLUSH|RESET|GRANT|REVOKE"
            r"|SET\s+(?:(?:SESSION|LOCAL)\s+|@@(?:(?:SESSION|LOCAL)\.)?)?AUTOCOMMIT"
            r"\s*=\s*(?:1|ON|TRUE)",
        ),
    )
}


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


def names_of_local(text: str) -> set[str]:
    """Return the settings that a statement changes until its transaction ends."""
    if "local" not in (lower := text.lower()) and "set_config" not in lower:
        return set()
    names = {(found[1] or found[2]).lower() for found in LOCAL.finditer(text)}
    return {SYNONYMS.get(name, name) for name in names}


def end_of_transaction(text: str, vendor: str) -> str:
    """Return the words by which a statement ends the transaction that is open, or ""."""
    pattern = ENDS_TRANSACTION.get(vendor)
    found = pattern.match(text) if pattern is not None else None
    return " ".join(found[1].upper().split()) if found else ""
