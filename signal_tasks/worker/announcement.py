"""Say once, when a worker is ready, what it serves."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from celery import signals as celery_signals
from django.conf import settings as django_settings

from signal_tasks.broker.config import queue_of
from signal_tasks.conf import settings
from signal_tasks.registry.naming import PROBE
from signal_tasks.registry.registry import registry
from signal_tasks.telemetry.logs import follow_deliveries, say
from signal_tasks.worker.consumer import consumed_queues

#: Names that the line lists.
MAX_NAMES = 20


def announce(worker: Any) -> None:
    """Say what this worker serves, once it is ready; in development, each delivery."""

    def ready(**_: object) -> None:
        celery_signals.worker_ready.disconnect(ready)  # sent again after each outage
        say(text_of(worker.hostname, consumed_queues(worker)))

    celery_signals.worker_ready.connect(ready, weak=False)
    if django_settings.DEBUG:
        follow_deliveries()


def text_of(name: str, queues: Collection[str]) -> str:
    """Return the line: the queues, the receivers that use them, the relay."""
    receivers = [one for one in registry.receivers() if one.name != PROBE]
    served = [one.name for one in receivers if queue_of(one) in queues]
    others = len(receivers) - len(served)
    elsewhere = f" ({others} use other queues)" if others else ""
    relay = "yes" if settings().RELAY_IN_WORKER else "no"
    return (
        f"{name} serves the queues {_listed(queues)}; "
        f"receivers: {_listed(served)}{elsewhere}; relay: {relay}"
    )


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:MAX_NAMES]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")
