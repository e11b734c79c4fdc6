"""An incident in a running shop, for the dashboard to show: ``manage.py shell`` runs it.

The mail server is down until the retries of some emails have been used up; nobody waits
for that here: a retry is due at once. It works again when this is over.
"""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

from django.contrib.auth.models import Permission, User
from django.db.models import QuerySet
from django.utils import timezone

from orders.models import Order
from orders.services import cancel_order
from shop.incident.faults import break_mail, confirm_orders, repair_mail
from signal_tasks import AsyncSignal, Reject, operations
from signal_tasks.models import Delivery, FailureGroup
from signal_tasks.operations import Selection
from signal_tasks.states import State
from signal_tasks.testing import run_pending
from tests.browser.people import CANCELLATION, CONFIRMATION, PASSWORD, ROLES

TIMEOUT = 60.0


def hire() -> None:
    """Create the people of ROLES, and an owner who may do everything."""
    User.objects.create_superuser("owner", "owner@example.com", PASSWORD)
    for name, codenames in ROLES.items():
        user = User.objects.create_user(name, f"{name}@example.com", PASSWORD)
        permissions = Permission.objects.filter(
            content_type__app_label="signal_tasks", codename__in=codenames
        )
        user.user_permissions.set(permissions)


def refuse_emails(*, confirmations: int, cancellations: int) -> None:
    """Confirm and cancel orders, and let their emails fail until they are dead."""
    break_mail()
    confirm_orders(confirmations, uuid4())
    for order in Order.objects.order_by("-pk")[:cancellations]:
        cancel_order(order=order)
    _exhaust(Delivery.objects.filter(receiver__in=[CONFIRMATION, CANCELLATION]))
    repair_mail()


def _exhaust(deliveries: QuerySet[Delivery]) -> None:
    """Fail these deliveries until they are dead, with the real workers or before them."""
    deadline = time.monotonic() + TIMEOUT
    alive = deliveries.filter(state__in=[State.PENDING, State.RUNNING])
    while alive.exists():
        assert time.monotonic() < deadline, "the deliveries do not die"
        waiting = deliveries.filter(state=State.PENDING)
        waiting.update(available_at=timezone.now() - timedelta(seconds=1))
        run_pending()


def block_keys() -> None:
    """Have dead letters block keys of a receiver that no other process knows."""
    moved = AsyncSignal(name="warehouse.signals.goods_moved")

    def book(sender: object, **kwargs: object) -> None:
        raise Reject("There is no such shelf.")

    moved.connect(
        book, weak=False, name="warehouse.receivers.book_movement", ordered=True
    )
    for key in [f"shelf-{number}" for number in range(4)]:  # a test replays one
        for number in range(3):
            moved.using(key=key).send(sender=None, number=number)
    run_pending()


def steer() -> None:
    """Replay one dead letter, pause a receiver, limit a queue, and write a note."""
    letter = Delivery.objects.filter(receiver=CONFIRMATION, state=State.DEAD).first()
    assert letter is not None
    only = Selection(ids=(letter.pk,))
    operations.replay(only, reason="Is it mended?", by="owner").wait(TIMEOUT)
    pause = "receiver:notifications.receivers.send_subscription"
    operations.pause(pause, reason="The template is wrong.", by="owner")
    operations.limit("queue:email", rate="1000/m", reason="Be gentle.", by="owner")
    group = FailureGroup.objects.get(receiver=CONFIRMATION)
    operations.annotate(group.pk, "The mail server was down at noon.", by="owner")


def happen() -> None:
    """Do all of it."""
    hire()
    refuse_emails(confirmations=12, cancellations=3)
    block_keys()
    steer()
