"""What the machine page does to a shop that runs on somebody's own machine.

For the demonstration only. The web process breaks nothing itself: it leaves notes in
the folder of the stack's data. The mail backend reads one before it sends; the stack
reads the other, and kills a worker that it started itself and will start again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
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

from orders.services import confirm_order, place_order
from products.models import Product
from shop.stack import KILL_A_WORKER

NAME, EMAIL = "The machine", "machine@example.com"
MAIL_IS_BROKEN = "mail-is-broken"
PATIENCE = 3.0  # seconds that a stack may take to hear of a wish


def confirm_orders(count: int, visitor: UUID) -> None:
    """Place and confirm so many orders, each in one transaction, as people do."""
    products = list(Product.objects.order_by("-stock")[:8])
    for number, product in zip(range(count), itertools.cycle(products), strict=False):
        with transaction.atomic():
            lines = [(product, 1 + number % 3)]
            order = place_order(name=NAME, email=EMAIL, lines=lines, visitor=visitor)
            confirm_order(order=order)


def break_mail() -> None:
    """Have every worker find the mail server down from now on."""
    _note(MAIL_IS_BROKEN).touch()


def mend_mail() -> None:
    """Have the mail server answer again."""
    _note(MAIL_IS_BROKEN).unlink(missing_ok=True)


def mail_is_broken() -> bool:
    """Tell whether somebody has broken the mail server."""
    return _note(MAIL_IS_BROKEN).exists()


def kill_a_worker() -> bool:
    """Have the stack kill a worker; False when no stack was there to do it."""
    wish = _note(KILL_A_WORKER)
    wish.touch()
    deadline = time.monotonic() + PATIENCE
    while wish.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    heard = not wish.exists()
    wish.unlink(missing_ok=True)
    return heard


def replay_dead_letters() -> None:
    """Owe again what was given up: the command that an operator has for it."""
    call_command("signal_tasks", "replay", "--all", stdout=StringIO())


class BreakableBackend(BaseEmailBackend):
    """The mail server of the settings, and the button that takes it down."""

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(fail_silently=fail_silently)
        self.real = get_connection(
            settings.SHOP_MAIL_BACKEND, fail_silently=fail_silently, **options
        )

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        if mail_is_broken():
            raise SMTPServerDisconnected("the mail server is down: see /machine/")
        return self.real.send_messages(email_messages) or 0


def _note(name: str) -> Path:
    settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    return Path(settings.VAR_DIR) / name
