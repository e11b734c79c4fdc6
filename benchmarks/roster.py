"""Who is measured, and what the harness has to know of each.

The contenders themselves live in ``contenders``, in environments of their own; nothing
of them is imported here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Two worker processes, and nothing that a measured worker has no use for.
CELERY_WORKER = (
    "-m",
    "celery",
    "-A",
    "benchmarks.project.celery_app",
    "worker",
    *("-P", "prefork", "-c", "2", "-l", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to have work done after a commit."""

    name: str
    title: str
    redis: int
    workers: tuple[tuple[str, ...], ...] = (CELERY_WORKER,)
    #: Counts what is not done yet, where the contender keeps that in the database.
    owed: str = ""
    python: Path = Path(sys.executable)


REFERENCE = Contender(name="reference", title="plain Celery, tuned", redis=0)
OURS = Contender(
    name="ours",
    title="signal_tasks",
    redis=1,
    owed="SELECT count(*) FROM signal_tasks_delivery"
    " WHERE state IN ('pending', 'running') AND relay_at IS NOT NULL",
)
CONTENDERS = {contender.name: contender for contender in (REFERENCE, OURS)}
