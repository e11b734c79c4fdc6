"""README's example is a project that works, with the settings that it names."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.projects import ROOT, STEPS, copy

README = (ROOT / "README.md").read_text()
MODELS = """
    def take(self, quantity):
        self.stock -= quantity
        self.save()
"""
MAIL = """
from django.core.mail import EmailMessage

def mail(order, message_id):
    EmailMessage(str(order), to=[order.email], headers={"Message-ID": message_id}).send()
"""
TESTS = """
from django.core import mail
from django.test import TestCase
from orders.models import Order, Product
from orders.services import confirm
from signal_tasks.testing import run_pending

class ReadmeTests(TestCase):
    fixtures = ["examples"]

    def test_the_example_does_what_it_says(self):
        confirm(Order.objects.get(pk=2))
        confirmation, inventory = sorted(run_pending(), key=lambda each: each.receiver)
        self.assertEqual(Product.objects.get().stock, 8)
        message_id = mail.outbox[0].extra_headers["Message-ID"]
        self.assertEqual(message_id, str(confirmation.id))
"""


APPS = '    "products",\n    "notifications",\n'


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    project = copy(STEPS[1], tmp_path)
    orders, notifications = project.folder / "orders", project.folder / "notifications"
    (orders / "receivers.py").unlink()
    for path, code in files_of_the_example().items():
        file = project.folder / path
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(code)
    add(orders / "models.py", after=r"stock = .*\n", text=MODELS)
    add(notifications / "receivers.py", after="^", text=MAIL)
    add(project.folder / "mysite" / "settings.py", after='    "orders",\n', text=APPS)
    (orders / "tests.py").write_text(TESTS)
    project.run("manage.py", "test")


def add(file: Path, *, after: str, text: str) -> None:
    """Put text into a file, after what a pattern matches."""
    file.write_text(
        re.sub(f"({after})", lambda found: found[1] + text, file.read_text(), count=1)
    )


def files_of_the_example() -> dict[str, str]:
    """The files that README's first example is made of, by their paths."""
    example = re.search(r"```python\n(# orders/signals.py.*?)```", README, re.DOTALL)
    assert example is not None
    parts = re.split(r"^# (\w+/\w+\.py).*\n", example[1], flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))
