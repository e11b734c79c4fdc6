"""Ask the server for the settings of a session."""

from __future__ import annotations

import re
from typing import Any

#: Settings of a project's own, which no list of settings shows, have such names.
OWN_NAME = re.compile(r"\b[a-z_]\w*(?:\.\w+)+\b", re.IGNORECASE)
OWN = "SELECT name, current_setting(name, TRUE) FROM unnest(%s::text[]) AS name"
#: The settings of a session, but those that change by themselves or harm nobody, and
#: MySQL's ``autocommit``: Django turns it off in a block, and the driver tells of it.
SESSION = {
    "postgresql": (
        """
        SELECT name, setting FROM pg_settings
        WHERE name NOT LIKE 'transaction_%'
            AND name NOT IN ('application_name', 'in_hot_standby')
        UNION ALL SELECT 'role', current_setting('role')
        UNION ALL SELECT 'session_authorization', CAST(session_user AS text)
        """,
    ),
    "mysql": (
        """
        SHOW SESSION VARIABLES WHERE variable_name IN ('time_zone', 'tx_isolation',
            'transaction_isolation', 'tx_read_only', 'transaction_read_only',
            'sql_mode', 'foreign_key_checks', 'unique_checks',
            'character_set_client', 'collation_connection', 'in_transaction')
        """,
        "SELECT 'database', DATABASE()",
    ),
}
#: MariaDB's variable that tells of an open transaction.
IN_TRANSACTION = "in_transaction"


def settings_of(cursor: Any, vendor: str) -> dict[str, str | None]:
    """Return the settings of a session that a receiver may have changed."""
    settings: dict[str, str | None] = {}
    for question in SESSION.get(vendor, ()):
        cursor.execute(question)
        settings |= dict(cursor.fetchall())
    return settings


def own_settings(cursor: Any, names: set[str]) -> dict[str, str | None]:
    """Return settings of PostgreSQL of a project's own names."""
    cursor.execute(OWN, [list(names)])
    return dict(cursor.fetchall())
