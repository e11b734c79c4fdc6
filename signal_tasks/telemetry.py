"""The only place that logs: it listens to what the engine says about its work.

Each record has a constant event name as its message, and the facts as ``extra``
fields and in the text behind the name.
"""

from __future__ import annotations

import logging
from typing import Any

from signal_tasks import signals
from signal_tasks.states import State

logger = logging.getLogger("signal_tasks")


def start() -> None:
    """Begin to listen; calling it again changes nothing."""
    for signal, listener in LISTENERS:
        signal.connect(listener, dispatch_uid=f"signal_tasks.{listener.__name__}")


def _log(level: int, event: str, **facts: Any) -> None:
    if logger.isEnabledFor(level):
        text = " ".join(f"{key}={value}" for key, value in facts.items())
        extra = {f"signal_tasks_{key}": value for key, value in facts.items()}
        logger.log(level, "%s %s", event, text, extra=extra)


def _attempt_ended(outcome: Any, **_: object) -> None:
    delivery = outcome.delivery
    facts = {
        "receiver": delivery.receiver,
        "delivery": delivery.pk,
        "attempt": delivery.attempts,
        "seconds": round(outcome.seconds, 4),
    }
    if outcome.succeeded:
        _log(logging.DEBUG, "delivery_succeeded", **facts)
    elif outcome.state is State.DEAD:
        reason = str(outcome.reason)
        error = repr(outcome.error)
        _log(logging.ERROR, "delivery_dead", **facts, reason=reason, error=error)
    elif outcome.state is State.DISCARDED:
        _log(logging.INFO, "delivery_skipped", **facts, reason=str(outcome.reason))
    else:
        again_in = round(outcome.verdict.delay, 3)
        error = repr(outcome.error)
        _log(
            logging.WARNING, "delivery_failed", **facts, again_in=again_in, error=error
        )


def _lease_lost(delivery_id: object, receiver: str, **_: object) -> None:
    _log(logging.WARNING, "lease_lost", receiver=receiver, delivery=delivery_id)


def _handed_back(receiver: str, count: int, **_: object) -> None:
    _log(logging.INFO, "handed_back", receiver=receiver, count=count)


def _broker_failed(error: object, **_: object) -> None:
    _log(logging.WARNING, "broker_failed", error=error)


def _relay_passed(database: str, passage: Any, **_: object) -> None:
    if passage.recovered or passage.orphaned:
        _log(
            logging.WARNING,
            "relay_recovered",
            database=database,
            recovered=passage.recovered,
            orphaned=passage.orphaned,
        )
    if passage.published or passage.pruned:
        _log(
            logging.DEBUG,
            "relay_passed",
            database=database,
            published=passage.published,
            pruned=passage.pruned,
        )


def _relay_failed(database: str, error: object, **_: object) -> None:
    _log(logging.ERROR, "relay_failed", database=database, error=repr(error))


LISTENERS = (
    (signals.attempt_ended, _attempt_ended),
    (signals.lease_lost, _lease_lost),
    (signals.handed_back, _handed_back),
    (signals.broker_failed, _broker_failed),
    (signals.relay_passed, _relay_passed),
    (signals.relay_failed, _relay_failed),
)
