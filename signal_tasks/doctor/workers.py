"""Examine the processes that have to be alive: workers, and a relay."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from functools import partial

from django.conf import settings as django_settings
from django.utils import timezone

from signal_tasks.broker import config
from signal_tasks.broker.control import Answer, ask_workers
from signal_tasks.conf import settings
from signal_tasks.doctor.findings import Finding, ok, problem, within
from signal_tasks.healthcheck import live_workers
from signal_tasks.models import Worker
from signal_tasks.registry.naming import PROBE
from signal_tasks.registry.registry import registry

#: Time between two looks at their reports (seconds).
LOOK_SECONDS = 0.1
#: How long the first report of a worker is waited for (seconds), and, as a share of
#: WORKER_TTL, its second one.
START_SECONDS, REPORTS = 1.5, 0.5
#: How long workers are given to answer over the broker (seconds).
ANSWER_SECONDS = 1.0


def live_when_started(alias: str, timeout: float) -> list[Worker]:
    """Return the live workers and relays, once one of them consumes queues.

    A worker that was started a moment ago reports soon, and reports its queues with
    its second report, which is waited for from when the first one is seen.
    """
    until = time.monotonic() + min(timeout, START_SECONDS)
    is_seen = False
    while True:
        live = live_workers(alias)
        now = time.monotonic()
        if live and not is_seen:
            is_seen = True
            until = now + min(timeout, settings().WORKER_TTL * REPORTS)
        if now >= until or any(worker.queues for worker in live):
            return live
        time.sleep(LOOK_SECONDS)


def workers(
    alias: str, live: Collection[Worker], timeout: float, *, broker_answers: bool
) -> Iterator[Finding]:
    """Yield whether workers are alive, consume the queues of receivers, run a relay."""
    consuming = [worker for worker in live if worker.queues]
    if not consuming:
        others = strangers(live, timeout) if broker_answers else {}
        yield _idle(alias, live) or _missing(alias, others)
    else:
        names = ", ".join(sorted(worker.name for worker in consuming))
        queues = ", ".join(sorted(queues_of(consuming)))
        yield ok("workers", f"{alias}: {names} on {queues}")
        yield from _unserved(queues_of(consuming))
    if any(worker.runs_relay for worker in live):
        yield ok("relay", f"{alias}: alive")
    elif consuming:
        yield problem(
            "relay",
            f"{alias}: no relay is alive: what a broker or process loses is not "
            "published again, and nothing is retried",
            'Remove "RELAY_IN_WORKER": False from SIGNAL_TASKS and restart the workers, '
            "or run: manage.py signal_tasks relay",
        )


def queues_of(live: Collection[Worker]) -> set[str]:
    """Return the queues that these workers consume."""
    return {name for worker in live for name in worker.queues.splitlines()}


def _unserved(served: Collection[str]) -> Iterator[Finding]:
    wanted: dict[str, list[str]] = {}
    for receiver in registry.receivers():
        queue = config.queue_of(receiver)
        if queue is not None and queue not in served:
            wanted.setdefault(queue, []).append(receiver.name)
    for queue, names in sorted(wanted.items()):
        yield problem(
            "workers",
            f"no live worker consumes the queue {queue!r} of {', '.join(names[:3])}",
            f"Start one for it: {start_command()} -Q {queue}. One that was started "
            "before the receiver was written has to be restarted.",
        )


def _idle(alias: str, live: Collection[Worker]) -> Finding | None:
    """Return that workers are alive and consume nothing, if they are no mere relays."""
    idle = [worker for worker in live if not worker.name.startswith("relay@")]
    if not idle:
        return None
    names = ", ".join(sorted(worker.name for worker in idle))
    errors = sorted({worker.broker_error for worker in idle} - {""})
    told = f": {errors[0]}" if errors else ""
    return problem(
        "workers",
        f"{alias}: {names} is alive, and consumes no queue{told}",
        "Does it reach its broker? Its first lines name it; its log has more.",
    )


def _missing(alias: str, found: Mapping[str, Answer]) -> Finding:
    if not found:
        text = f"{alias}: no worker is alive{_last_seen(alias)}"
        remedy = f"Start one in another terminal: {start_command()}"
        if django_settings.DEBUG:
            remedy += ", or for development: manage.py signal_tasks dev"
        return problem("workers", text, remedy)
    names = ", ".join(sorted(found))
    if any(PROBE in answer.tasks for answer in found.values()):
        return problem(
            "workers",
            f"{alias}: {names} answers over the broker, and reports to another database",
            "Start it with the settings of this process: DATABASES and "
            "DJANGO_SETTINGS_MODULE have to be the same.",
        )
    return problem(
        "workers",
        f"{alias}: {names} answers over the broker, and does not load signal_tasks, so "
        "it runs no receiver",
        "Start it with the project's app, which names the settings before it is made "
        '(os.environ.setdefault("DJANGO_SETTINGS_MODULE", ...)), and restart it after '
        f"each upgrade: {start_command()}",
    )


def _last_seen(alias: str) -> str:
    last = Worker.objects.using(alias).order_by("-seen_at").first()
    if last is None:
        return ""
    seconds = (timezone.now() - last.seen_at).total_seconds()
    return f"; {last.name} was seen {seconds:.0f} s ago"


def strangers(live: Collection[Worker], timeout: float) -> Mapping[str, Answer]:
    """Return the workers on this broker that do not report to this database."""
    ours = {worker.name for worker in live}
    seconds = min(timeout, ANSWER_SECONDS)
    try:
        answers = within(seconds * 4, partial(ask_workers, seconds))
    # They are asked only to explain a problem; the explanation must not be another.
    except Exception:  # noqa: BLE001
        return {}
    return {name: answer for name, answer in answers.items() if name not in ours}


def start_command() -> str:
    """Return how a worker of this project is started."""
    return f"{config.celery_command()} worker"
