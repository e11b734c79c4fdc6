"""Try the installed package: tables, pages, a rollback, a real worker, a retry.

Anything that is wrong is an exception.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

import signal_tasks
from signal_tasks.models import Delivery
from smoke.models import Attempted, Order
from smoke.signals import confirmed

PATIENCE = 90  # seconds, on a machine that is busy
PAGES = ("/signals/", "/signals/events/", "/admin/signal_tasks/delivery/")


def look(user):
    """Read the pages: their templates and files are in the wheel."""
    client = Client()
    client.force_login(user)
    for page in PAGES:
        answer = client.get(page)
        assert answer.status_code == 200, (page, answer)
    assert finders.find("signal_tasks/dashboard/dashboard.css"), "no static files"


def send():
    """Send one event that is rolled back, and one that is not."""
    order = Order.objects.create()
    with transaction.atomic():
        confirmed.send(sender=Order, order=order)
        transaction.set_rollback(True)
    assert not Delivery.objects.exists(), "a rollback has left deliveries"
    with transaction.atomic():
        confirmed.send(sender=Order, order=order)
    return order


def deliver():
    """Run a worker until nothing is pending."""
    command = [sys.executable, "-m", "celery", "-A", "smoke", "worker", "-c", "1"]
    with Path("worker.log").open("w") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE
    try:
        while Delivery.objects.exclude(state="succeeded").exists():
            assert worker.poll() is None, "the worker has ended"
            assert time.monotonic() < deadline, list(Delivery.objects.values())
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait(PATIENCE)


def versions():
    """Return what has been used, by the installed versions."""
    with connection.cursor() as cursor:
        function = "sqlite_version" if connection.vendor == "sqlite" else "version"
        cursor.execute(f"SELECT {function}()")
        (server,) = cursor.fetchone()
    packages = ("Django", "celery", "kombu", *json.loads(os.environ["SMOKE_PACKAGES"]))
    installed = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "server": server} | installed


def run():
    """Try all of it; return the versions."""
    assert "site-packages" in signal_tasks.__file__, signal_tasks.__file__
    call_command("check", fail_level="WARNING", databases=["default"])
    call_command(
        "makemigrations", "signal_tasks", check=True, dry_run=True, verbosity=0
    )
    call_command("migrate", run_syncdb=True, verbosity=0)
    user = User.objects.create_superuser("smoke")
    order = send()
    deliver()
    look(user)
    order.refresh_from_db()
    assert order.stock == 9, f"the atomic effect is not there once: {order.stock}"
    attempts = sorted(Attempted.objects.values_list("number", flat=True))
    assert attempts == [1, 2], attempts
    return versions()
