"""System checks: wrong set-up fails in ``manage.py check``, with the way out.

One function per ID; each yields its messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core import checks

from signal_tasks.checks import celery, databases, project, receivers
from signal_tasks.checks.messages import Messages

ALL: tuple[Callable[[], Messages], ...] = (
    *project.ALL,
    *databases.ALL,
    *receivers.ALL,
    *celery.ALL,
)


def register() -> None:
    """Register every check."""
    checks.register(run_all, "signal_tasks")


def run_all(**_: Any) -> list[checks.CheckMessage]:
    """Run every check."""
    return [message for check in ALL for message in check()]
