"""The receivers that fail in the incident, until somebody mends them.

Files in the folder of the run stand for the mail server and for the bug.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from django.dispatch import receiver

from chaos import journal
from chaos.incident.signals import mail_due, seats_wanted
from chaos.models import Effect
from signal_tasks import RetryPolicy

#: Two attempts, so that the dead letters come soon.
BRIEF = RetryPolicy(max_attempts=2, backoff=0.05)
#: Only a worker that was lost is worth another attempt.
STRICT = RetryPolicy(max_attempts=5, backoff=0.05, retry_on=())
#: While these files exist, the mail server is down, or the bug is in the code.
MAIL_IS_DOWN, CODE_HAS_BUG = "mail-is-down", "code-has-bug"
#: The work of one booking (seconds): workers can be killed amid it.
BOOKING_SECONDS = 0.01


class MailServerDown(OSError):
    """The mail server cannot be reached."""


class FlightDeparted(Exception):
    """No attempt will ever book seats on this flight."""


class PaymentUnclear(Exception):
    """Somebody has to ask the bank."""


def flag(name: str) -> Path:
    """Return the file that stands for this fault."""
    return Path(os.environ["CHAOS_FOLDER"]) / name


@receiver(mail_due, atomic=False, retry=BRIEF)
def send_mail(sender: object, key: str, **_: Any) -> None:
    """Send a mail, which no rollback undoes."""
    journal.write("mail-run", key=key)
    if flag(MAIL_IS_DOWN).exists():
        raise MailServerDown("mail.example.com:25 refuses the connection")
    journal.write("mail", key=key)


@receiver(seats_wanted, retry=STRICT)
def book_seats(sender: object, key: str, kind: str, **_: Any) -> None:
    """Book seats in the transaction of the delivery."""
    journal.write("booking-run", key=key, cause=kind)
    Effect.objects.create(kind="booked", key=key)
    time.sleep(BOOKING_SECONDS)
    if kind == "departed":
        raise FlightDeparted(f"booking {key}: the flight has departed")
    if kind == "unclear":
        raise PaymentUnclear(f"booking {key}: the bank has not answered")
    prices = {} if flag(CODE_HAS_BUG).exists() else {"price": 5}
    prices["price"]
