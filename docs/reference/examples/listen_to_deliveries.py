"""Mail the administrators about dead letters, and count attempts by receiver."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.mail import mail_admins
from django.dispatch import receiver

from signal_tasks.signals import (
    AttemptFinished,
    DeliveryDead,
    attempt_finished,
    delivery_dead,
)

#: Attempts of this process, by receiver and state.
attempts: Counter[tuple[str, str]] = Counter()


@receiver(delivery_dead)
def mail_dead_letter(sender: object, details: DeliveryDead, **kwargs: Any) -> None:
    mail_admins(
        f"Dead letter of {details.receiver}",
        f"{details.reason} in attempt {details.attempt}: {details.error}\n"
        f"manage.py signal_tasks inspect {details.delivery_id}",
    )


@receiver(attempt_finished)
def count_attempt(sender: object, details: AttemptFinished, **kwargs: Any) -> None:
    attempts[details.receiver, details.state] += 1
