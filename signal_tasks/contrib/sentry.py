"""Report dead letters to Sentry, and hooks that failed: an issue for each receiver and error.

Add ``SignalTasksIntegration()`` to the ``integrations`` of ``sentry_sdk.init()``; needs
the extra ``sentry``. What Sentry's integrations of Celery and ``logging`` would report
of our deliveries besides is left out: the same error, once for each message.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

try:
    import sentry_sdk
    from sentry_sdk.integrations import Integration
    from sentry_sdk.integrations.logging import ignore_logger
    from sentry_sdk.scope import add_global_event_processor
    from sentry_sdk.utils import event_from_exception
except ImportError as missing:
    raise ImproperlyConfigured(
        "signal_tasks.contrib.sentry needs sentry-sdk: "
        "pip install 'django-signal-tasks[sentry]'"
    ) from missing

from signal_tasks import redaction, signals
from signal_tasks.exceptions import Retry
from signal_tasks.fingerprints import fingerprint
from signal_tasks.states import Reason, State

#: The module that hands an error to Celery, when its delivery has been reported.
TASKS = "signal_tasks.delivery.tasks"


class SignalTasksIntegration(Integration):
    """Reports each delivery that has become a dead letter.

    Args:
        retried: report attempts too that failed and are run again, as warnings.
    """

    identifier = "signal_tasks"

    def __init__(self, *, retried: bool = False) -> None:
        self.retried = retried

    @staticmethod
    def setup_once() -> None:
        """Listen; called by ``sentry_sdk.init()``, before Django is set up."""
        ignore_logger("signal_tasks")
        add_global_event_processor(_drop_what_is_reported)
        for signal, listener in (
            (signals.attempt_finished, _attempt_finished),
            (signals.delivery_dead, _delivery_dead),
            (signals.commit_hook_failed, _commit_hook_failed),
        ):
            signal.connect(
                listener, dispatch_uid=f"signal_tasks.sentry{listener.__name__}"
            )


def _attempt_finished(details: signals.AttemptFinished, **_: object) -> None:
    error, level = details.error, _level(details)
    if error is None or level is None:
        return
    event, hint = event_from_exception(
        error,
        client_options=_options(details.signal),
        mechanism={"type": "signal_tasks", "handled": True},
    )
    found = fingerprint(details.receiver, error)
    event["level"] = level
    event["fingerprint"] = ["signal_tasks", details.receiver, found.value]
    tags = {"attempt": str(details.attempt), "signal": details.signal}
    _capture(event, details, tags | {"event_id": str(details.event_id)}, hint)


def _options(signal: str) -> dict[str, Any]:
    """Return the client's options, without local variables if one is sensitive."""
    options = sentry_sdk.get_client().options
    if not redaction.names_of(signal):
        return options
    return {**options, "include_local_variables": False}


def _level(details: signals.AttemptFinished) -> Any:
    """Return the level at which an attempt is reported; None if it is not."""
    integration = sentry_sdk.get_client().get_integration(SignalTasksIntegration)
    if integration is None:
        return None
    if details.state is State.DEAD:
        return "warning" if details.reason == Reason.MISSING else "error"
    failed = details.state is State.PENDING and not isinstance(details.error, Retry)
    return "warning" if integration.retried and failed else None


def _delivery_dead(details: signals.DeliveryDead, **_: object) -> None:
    """Report what a relay found dead; a worker's attempt is reported as it finishes."""
    client = sentry_sdk.get_client()
    listens = client.get_integration(SignalTasksIntegration) is not None
    if listens and details.reason == Reason.LOST:
        event: Any = {
            "level": "error",
            "message": f"{details.receiver}: {details.error}",
            "fingerprint": ["signal_tasks", details.receiver, str(details.reason)],
        }
        _capture(event, details, {"attempt": str(details.attempt)})


def _commit_hook_failed(details: signals.CommitHookFailed, **_: object) -> None:
    """Report a hook, without local variables: any of them may be sensitive."""
    client = sentry_sdk.get_client()
    if client.get_integration(SignalTasksIntegration) is None:
        return
    event, hint = event_from_exception(
        details.error,
        client_options={**client.options, "include_local_variables": False},
        mechanism={"type": "signal_tasks", "handled": True},
    )
    found = fingerprint(details.receiver, details.error)
    event["level"] = "error"
    event["fingerprint"] = ["signal_tasks", details.receiver, "hook", found.value]
    event["transaction"] = details.receiver
    event["logger"] = "signal_tasks"
    event["tags"] = {"receiver": details.receiver}
    sentry_sdk.capture_event(event, hint=hint)


def _capture(
    event: Any,
    details: signals.AttemptFinished | signals.DeliveryDead,
    tags: dict[str, str],
    hint: Any = None,
) -> None:
    event["transaction"] = details.receiver
    event["logger"] = "signal_tasks"
    event["tags"] = {
        "receiver": details.receiver,
        "delivery_id": str(details.delivery_id),
        "reason": str(details.reason),
        **tags,
    }
    sentry_sdk.capture_event(event, hint=hint)


def _drop_what_is_reported(event: Any, hint: Any) -> Any:
    """Drop what Celery's integration captures of the tasks of receivers."""
    values = (event.get("exception") or {}).get("values") or []
    of_celery = any(
        (each.get("mechanism") or {}).get("type") == "celery" for each in values
    )
    if not of_celery:
        return event
    frames = [
        frame.get("module")
        for each in values
        for frame in (each.get("stacktrace") or {}).get("frames") or []
    ]
    return None if TASKS in frames else event
