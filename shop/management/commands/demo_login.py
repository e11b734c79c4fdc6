"""``manage.py demo_login``: a user with whom one tries the shop out as its operator.

In a demo only: elsewhere it does nothing. The password is random, and kept in the data
folder, where ``make run`` reads it.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.management.base import BaseCommand
from django.db import transaction

from shop.access import is_demo
from shop.stack import OPERATOR, OPERATOR_PASSWORD

# What the operator may view and change: not the accounts, so nobody's rights.
APPS = ("signal_tasks", "orders", "products", "notifications")


class Command(BaseCommand):
    """Make the operator of a demo, unless there is one."""

    help = "In a demo, make a user who may use the dashboard, the inbox and the admin."

    def handle(self, *args: object, **options: object) -> None:
        if not is_demo():
            self.stdout.write("This is no demo: no operator is made.")
            return
        file = Path(settings.VAR_DIR) / OPERATOR_PASSWORD
        found = User.objects.filter(username=OPERATOR).first()
        if found is None:
            _make(_new_password(file))
        elif not (file.exists() and found.check_password(file.read_text())):
            file.unlink(missing_ok=True)  # somebody has chosen another password


def _new_password(file: Path) -> str:
    password = secrets.token_urlsafe(9)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(password)
    return password


@transaction.atomic
def _make(password: str) -> None:
    email = f"{OPERATOR}@example.com"
    user = User.objects.create_user(OPERATOR, email, password, is_staff=True)
    may = Permission.objects.filter(content_type__app_label__in=APPS)
    user.user_permissions.set(may)
