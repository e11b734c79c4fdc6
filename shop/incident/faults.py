"""Break the mail server, kill a worker, replay the dead: what the buttons do.

The web process breaks nothing itself. It leaves files in the stack's data folder: the
mail backend reads one before each email; the stack reads the other, kills a worker
that it started itself, and starts it again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from smtplib import SMTPServerDisconnected
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.management import call_command
from django.db import transaction

from customers.proofs import Claim, accept
from orders.services import confirm_order, place_order
from products.models import Product
from shop.stack import KILL_A_WORKER, WORKER_KILLED

NAME, EMAIL = "A customer of the incident", "incident@example.com"
MAIL_IS_BROKEN = "mail-is-broken"
BEGAN = "incident-began"
STACK_TIMEOUT = 3.0  # seconds that the stack may take to see the request for a kill


def begin() -> None:
    """Begin the tour anew: what is counted, is counted from now on; mails go out."""
    repair_mail()
    _file(WORKER_KILLED).unlink(missing_ok=True)
    _file(BEGAN).touch()


def began_at() -> datetime | None:
    """Return when the tour began, or None if nobody has broken anything yet."""
    return _time_of(BEGAN)


def confirm_orders(count: int, visitor: UUID) -> None:
    """Place and confirm this many orders, each in a transaction of its own."""
    _begin_if_needed()
    accept(Claim(email=EMAIL, visitor=str(visitor)))
    products = list(Product.objects.order_by("-stock")[:8])
    for number, product in zip(range(count), itertools.cycle(products), strict=False):
        with transaction.atomic():
            lines = [(product, 1 + number % 3)]
            order = place_order(name=NAME, email=EMAIL, lines=lines, visitor=visitor)
            confirm_order(order=order)


def break_mail() -> None:
    """Make every email fail from now on, in every worker."""
    _begin_if_needed()
    _file(MAIL_IS_BROKEN).touch()


def repair_mail() -> None:
    """Let emails go out again."""
    _file(MAIL_IS_BROKEN).unlink(missing_ok=True)


def mail_is_broken() -> bool:
    """Return True while the mail server is broken on purpose."""
    return _file(MAIL_IS_BROKEN).exists()


def kill_a_worker() -> bool:
    """Ask the stack to kill a worker; return False if no stack answered."""
    _begin_if_needed()
    request = _file(KILL_A_WORKER)
    request.touch()
    deadline = time.monotonic() + STACK_TIMEOUT
    while request.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    answered = not request.exists()
    request.unlink(missing_ok=True)
    return answered


def killed_at() -> datetime | None:
    """Return when the stack has last killed a worker on request, or None."""
    return _time_of(WORKER_KILLED)


def replay_dead_deliveries(by: str) -> None:
    """Replay all dead deliveries, with the command that an operator would use."""
    why = ("--because", "the page /incident/", "--by", by)
    call_command("signal_tasks", "replay", "--all", *why, stdout=StringIO())


class BreakableBackend(BaseEmailBackend):
    """The mail backend of the settings; fails while the mail server is broken."""

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(fail_silently=fail_silently)
        self.real = get_connection(
            settings.SHOP_MAIL_BACKEND, fail_silently=fail_silently, **options
        )

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        if mail_is_broken():
            raise SMTPServerDisconnected("the mail server is down: see /incident/")
        return self.real.send_messages(email_messages) or 0


def _begin_if_needed() -> None:
    if began_at() is None:
        _file(BEGAN).touch()


def _time_of(name: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(_file(name).stat().st_mtime, tz=UTC)
    except FileNotFoundError:
        return None


def _file(name: str) -> Path:
    settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    return Path(settings.VAR_DIR) / name
