"""The contenders, and what the harness has to know of each.

Their code is in ``contenders``, for environments of their own; nothing of it is imported
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def celery(
    app: str = "benchmarks.project.celery_app",
    processes: int = 2,
    name: str = "worker@%h",
) -> tuple[str, ...]:
    """Return the command of a Celery worker, without gossip, mingle and heartbeats."""
    pool = ("-P", "prefork", "-c", str(processes), "-n", name, "-l", "WARNING")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("-m", "celery", "-A", app, "worker", *pool, *quiet)


def _manage(*command: str) -> tuple[str, ...]:
    return ("-m", "django", *command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to have work done after a commit."""

    name: str
    title: str
    redis: int
    workers: tuple[tuple[str, ...], ...] = (celery(),)
    #: Counts unfinished work, if the contender keeps it in the database.
    unfinished: str = ""
    #: Tables (LIKE) that are not emptied between two runs.
    kept: str = "django_migrations"
    rival: bool = True
    #: A newer interpreter than ours, if the contender needs one.
    interpreter: str = ""


REFERENCE = Contender(
    name="reference", title="plain Celery, tuned", redis=0, rival=False
)
OURS = Contender(
    name="ours",
    title="signal_tasks",
    redis=1,
    rival=False,
    unfinished="SELECT count(*) FROM signal_tasks_delivery"
    " WHERE state IN ('pending', 'running') AND next_check_at IS NOT NULL",
)
RIVALS = (
    Contender(
        name="celery_outbox",
        title="django-celery-outbox",
        redis=2,
        workers=(
            celery("benchmarks.contenders.celery_outbox.celery_app"),
            _manage("celery_outbox_relay", "--batch-size=500", "--idle-time=0.1"),
        ),
        unfinished="SELECT count(*) FROM celery_outbox",
    ),
    Contender(
        name="pgjobs",
        title="procrastinate",
        redis=3,
        workers=(_manage("procrastinate", "worker", "--concurrency=4"),) * 2,
        unfinished="SELECT count(*) FROM procrastinate_jobs"
        " WHERE status IN ('todo', 'doing')",
        kept="procrastinate_workers",
    ),
    Contender(
        name="tasks_db",
        title="django-tasks-db",
        redis=4,
        workers=(_manage("db_worker", "--interval=0.1"),) * 2,
        unfinished="SELECT count(*) FROM django_tasks_database_dbtaskresult"
        " WHERE status IN ('READY', 'RUNNING')",
    ),
    Contender(
        name="q2",
        title="django-q2 (Redis)",
        redis=5,
        workers=(_manage("qcluster"),),
    ),
    Contender(
        name="domain_events",
        title="django-domain-events",
        redis=6,
        workers=(_manage("deliver_events"),) * 2,
        unfinished="SELECT count(*) FROM django_domain_events_deliveryrecord"
        " WHERE status <> 'succeeded'",
    ),
    Contender(
        name="ox",
        title="django-ox",
        redis=7,
        workers=(_manage("ox_worker", "--processes=2", "--interval=0.1"),),
        unfinished="SELECT count(*) FROM django_ox_oxtask"
        " WHERE status IN ('READY', 'RUNNING')",
        interpreter="python3.12",
    ),
)
CONTENDERS = {contender.name: contender for contender in (REFERENCE, OURS, *RIVALS)}
