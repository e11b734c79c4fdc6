"""Run the command as a test needs it."""

from __future__ import annotations

import io
import json
from typing import Any

from django.core.management import call_command


class Terminal(io.StringIO):
    """Where somebody looks at what is printed."""

    def isatty(self) -> bool:
        return True


def command(*args: object, status: int = 0) -> str:
    """Run the command, expect that exit status, and return what it printed."""
    return both(*args, status=status)[0]


def told(*args: object, status: int = 0) -> Any:
    """Run the command with ``--json``; return the value that it printed."""
    return json.loads(command(*args, "--json", status=status))


def both(*args: object, status: int = 0) -> tuple[str, str]:
    """Run the command; return what it printed, and what it warned of."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(arg) for arg in args]
    code: object = 0
    try:
        call_command("signal_tasks", *words, stdout=out, stderr=err)
    except SystemExit as stopped:
        code = stopped.code
    assert code == status, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()
