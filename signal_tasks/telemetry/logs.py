"""Turn lifecycle signals into log records; nothing else of the engine logs.

Each record has a constant event name as its message, and the facts as ``extra``
fields and in the text behind the name: one line of bounded length, whatever an error
says. No argument of a receiver is among them.

``CorrelationFilter`` is for the records of the project itself: it says for which
delivery they were made.
"""

from __future__ import annotations

import logging
from typing import Any

from signal_tasks import signals
from signal_tasks.context import current_delivery
from signal_tasks.error_text import line_of, one_line
from signal_tasks.exceptions import NoCurrentDelivery
from signal_tasks.states import Breaker, OperationState, Reason, State

logger = logging.getLogger("signal_tasks")
ON_MISSING = (
    'connect the receiver with on_missing="skip" to discard what is about a deleted '
    'row, or with "none" to be called with None'
)


def correlation() -> dict[str, str]:
    """Return delivery, event, receiver and correlation id of the code that calls.

    Each is a short text of one line, and empty outside of receivers.
    """
    try:
        delivery = current_delivery()
    except NoCurrentDelivery:
        return dict.fromkeys(CORRELATION_FIELDS, "")
    texts = (delivery.id, delivery.event_id, delivery.receiver, delivery.correlation_id)
    return {
        field: one_line(str(text))
        for field, text in zip(CORRELATION_FIELDS, texts, strict=True)
    }


CORRELATION_FIELDS = ("delivery_id", "event_id", "receiver", "correlation_id")


class CorrelationFilter(logging.Filter):
    """Add the fields of ``correlation()`` to each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record does not have; keep the record."""
        for field, text in correlation().items():
            if not hasattr(record, field):
                setattr(record, field, text)
        return True


def start() -> None:
    """Connect the listeners; calling it again changes nothing."""
    for signal, listener in LISTENERS:
        signal.connect(listener, dispatch_uid=f"signal_tasks.{listener.__name__}")


def _log(level: int, event: str, **facts: Any) -> None:
    if logger.isEnabledFor(level):
        facts = {key: _shown(value) for key, value in facts.items()}
        text = " ".join(f"{key}={value}" for key, value in facts.items())
        extra = {f"signal_tasks_{key}": value for key, value in facts.items()}
        logger.log(level, "%s %s", event, text, extra=extra)


def say(text: str) -> None:
    """Log at INFO what a person wants to see at Celery's default level, too.

    Workers show warnings unless they are started with ``-l INFO``, and this is none. A
    level that the project has given to the logger holds, and so do those of handlers.
    """
    if logger.isEnabledFor(logging.INFO) or _is_left_to_celery():
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, "%s", (text,), None
        )
        logger.handle(record)


def _is_left_to_celery() -> bool:
    is_disabled = logger.manager.disable >= logging.INFO
    return logger.level == logging.NOTSET and not is_disabled


def follow_deliveries() -> None:
    """Say each delivery, for development: receiver, event, result, milliseconds.

    Those that fail are logged as warnings anyway.
    """
    signals.attempt_finished.connect(_say_delivery, dispatch_uid="signal_tasks.say")


def _say_delivery(details: signals.AttemptFinished, **_: object) -> None:
    is_fine = details.state in (State.SUCCEEDED, State.DISCARDED)
    if is_fine and not logger.isEnabledFor(logging.DEBUG):
        say(
            f"{details.receiver}: {details.state} in {details.seconds * 1000:.0f} ms, "
            f"event {details.signal} {details.event_id}"
        )


def _shown(value: object) -> object:
    if isinstance(value, BaseException):
        return line_of(value)
    return one_line(value) if isinstance(value, str) else value


def _attempt_finished(details: signals.AttemptFinished, **_: object) -> None:
    facts: dict[str, Any] = {
        "receiver": details.receiver,
        "delivery": details.delivery_id,
        "run": details.run,
        "attempt": details.attempt,
        "seconds": round(details.seconds, 4),
    }
    if details.state is State.SUCCEEDED:
        _log(logging.DEBUG, "delivery_succeeded", **facts)
    elif details.state is State.DEAD:
        facts |= {"reason": str(details.reason), "error": details.error}
        level = logging.ERROR
        if details.reason == Reason.MISSING:  # rows are deleted every day
            level, facts["hint"] = logging.WARNING, ON_MISSING
        _log(level, "delivery_dead", **facts)
    elif details.state is State.DISCARDED:
        _log(logging.INFO, "delivery_skipped", **facts, reason=str(details.reason))
    else:
        facts["retry_in"] = round(details.retry_in or 0.0, 3)
        _log(logging.WARNING, "delivery_failed", **facts, error=details.error)


def _delivery_dead(details: signals.DeliveryDead, **_: object) -> None:
    """Log what the relay found dead; a worker's attempt is logged as it finishes."""
    if details.reason == Reason.LOST:
        _log(
            logging.ERROR,
            "delivery_dead",
            receiver=details.receiver,
            delivery=details.delivery_id,
            run=details.run,
            attempt=details.attempt,
            reason=details.reason,
            error=details.error,
        )


def _delivery_fenced(details: signals.DeliveryFenced, **_: object) -> None:
    _log(
        logging.WARNING,
        "delivery_fenced",
        receiver=details.receiver,
        delivery=details.delivery_id,
    )


def _commit_hook_failed(details: signals.CommitHookFailed, **_: object) -> None:
    _log(
        logging.ERROR,
        "commit_hook_failed",
        receiver=details.receiver,
        database=details.database,
        error=details.error,
        next="the commit stands; the hook is not run again",
    )


def _batch_failed(details: signals.BatchFailed, **_: object) -> None:
    _log(
        logging.WARNING,
        "batch_failed",
        receiver=details.receiver,
        database=details.database,
        count=details.count,
        error=details.error,
        next="each of its deliveries is run alone",
    )


def _settling_failed(details: signals.SettlingFailed, **_: object) -> None:
    _log(
        logging.ERROR,
        "settling_failed",
        signal=details.signal,
        event_id=details.event_id,
        receiver=details.receiver or None,
        database=details.database,
        error=details.error,
        next="given up" if details.given_up else "tried again by a relay",
    )


def _deliveries_released(details: signals.DeliveriesReleased, **_: object) -> None:
    _log(
        logging.INFO,
        "deliveries_released",
        receiver=details.receiver,
        count=details.count,
    )


def _publication_failed(details: signals.PublicationFailed, **_: object) -> None:
    facts = {} if details.receiver is None else {"receiver": details.receiver}
    _log(
        logging.WARNING,
        "publication_failed",
        **facts,
        error=details.error,
        next="nothing is lost: a relay publishes it later",
    )


def _pass_finished(details: signals.PassFinished, **_: object) -> None:
    if details.recovered or details.orphaned:
        _log(
            logging.WARNING,
            "relay_recovered",
            database=details.database,
            recovered=details.recovered,
            orphaned=details.orphaned,
        )
    if details.published or details.pruned:
        _log(
            logging.DEBUG,
            "pass_finished",
            database=details.database,
            published=details.published,
            pruned=details.pruned,
        )


def _pass_failed(details: signals.PassFailed, **_: object) -> None:
    _log(
        logging.ERROR,
        "pass_failed",
        database=details.database,
        error=details.error,
    )


def _breaker_changed(details: signals.BreakerChanged, **_: object) -> None:
    facts: dict[str, Any] = {
        "receiver": details.receiver,
        "database": details.database,
        "state": str(details.state),
        "failures": details.failures,
    }
    if details.error is not None:
        facts["error"] = details.error
    level = logging.ERROR if details.state is Breaker.OPEN else logging.WARNING
    _log(level, "breaker_changed", **facts)


def _operation_finished(details: signals.OperationFinished, **_: object) -> None:
    facts: dict[str, Any] = {
        "operation": details.operation_id,
        "kind": details.kind,
        "state": str(details.state),
        "total": details.total,
        "done": details.done,
        "failed": details.failed,
        "skipped": details.skipped,
        "by": details.by,
    }
    if details.note:
        facts["note"] = details.note
    is_stopped = details.state is OperationState.STOPPED
    level = logging.ERROR if is_stopped else logging.INFO
    _log(level, "operation_finished", **facts)


def _alert_failed(details: signals.AlertFailed, **_: object) -> None:
    _log(
        logging.ERROR,
        "alert_failed",
        channel=details.channel,
        database=details.database,
        error=details.error,
    )


LISTENERS = (
    (signals.attempt_finished, _attempt_finished),
    (signals.delivery_dead, _delivery_dead),
    (signals.delivery_fenced, _delivery_fenced),
    (signals.commit_hook_failed, _commit_hook_failed),
    (signals.batch_failed, _batch_failed),
    (signals.settling_failed, _settling_failed),
    (signals.deliveries_released, _deliveries_released),
    (signals.publication_failed, _publication_failed),
    (signals.pass_finished, _pass_finished),
    (signals.pass_failed, _pass_failed),
    (signals.breaker_changed, _breaker_changed),
    (signals.operation_finished, _operation_finished),
    (signals.alert_failed, _alert_failed),
)
