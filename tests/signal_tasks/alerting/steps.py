"""Steps of the tests of alerts: whom to tell, something goes wrong, time passes."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import F
from django.utils import timezone

from signal_tasks import Alert, AsyncSignal, Reject
from signal_tasks.alerting import rounds, state
from signal_tasks.alerting.sending import Sending
from signal_tasks.conf import settings
from signal_tasks.models import Delivery, OpenAlert
from signal_tasks.testing import run_pending

HERE = "tests.signal_tasks.alerting.steps"
HEAR, FAIL, HANG = f"{HERE}.hear", f"{HERE}.fail", f"{HERE}.hang"

heard: list[Alert] = []
go_on = threading.Event()


def hear(alert: Alert) -> None:
    """Be told, as a callable of a project."""
    heard.append(alert)


def fail(alert: Alert) -> None:
    """Fail, as a callable whose own server is down."""
    raise ConnectionError("the chat is down")


def hang(alert: Alert) -> None:
    """Wait until the test goes on."""
    go_on.wait(30)
    hear(alert)


class BrokenMail(BaseEmailBackend):
    """A mail server that is down."""

    def send_messages(self, messages: Any) -> int:
        """Fail."""
        raise ConnectionRefusedError("the mail server is down")


def tell(database: str = "default") -> list[Sending]:
    """Look, and tell what is due, as a process does that has just started."""
    options = settings().ALERTS
    assert options is not None
    return list(rounds.run_once(state.look(database), options, database))


def told() -> list[tuple[str, bool]]:
    """Return the kinds of what was told since the last look, and if it is over."""
    seen = [(alert.kind, alert.is_over) for alert in heard]
    heard.clear()
    return seen


def pass_time(seconds: float = 3600.0) -> None:
    """Let all that is due within so long be due now."""
    earlier = F("due_at") - timedelta(seconds=seconds)
    OpenAlert.objects.update(due_at=earlier)


def refuse(sender: object, **kwargs: object) -> None:
    """Fail for good, as a receiver."""
    raise Reject("on purpose")


def die(signal: AsyncSignal) -> None:
    """Leave a dead letter."""
    signal.connect(refuse, name="t.refuse_for_good")
    signal.send(sender=None)
    run_pending()


def mend() -> None:
    """Replay and do all that is dead, as far as anybody can see."""
    Delivery.objects.dead().update(state="succeeded")


def ago(minutes: float) -> Any:
    """Return the time so many minutes ago."""
    return timezone.now() - timedelta(minutes=minutes)
