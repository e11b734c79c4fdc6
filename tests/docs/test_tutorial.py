"""The steps of the tutorial run as they stand, the last one with a real worker."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.embedded import RedisServer
from tests.docs.projects import ROOT, STEPS, Project, copy

CHECKS = """
from django.core.management import call_command, execute_from_command_line
execute_from_command_line(["manage.py", "check", "--fail-level", "WARNING"])
call_command("makemigrations", check=True, dry_run=True)
execute_from_command_line(["manage.py", "test"])
"""


@pytest.mark.parametrize("step", STEPS, ids=lambda path: path.name)
def test_a_step_passes_its_checks_and_its_own_tests(step: Path, tmp_path: Path) -> None:
    project = copy(step, tmp_path)
    project.run("manage.py", "shell", "-c", CHECKS)


POST_SAVE = """
from django.test import TestCase
from orders.models import Order, Product
from signal_tasks.testing import run_pending

class VariantTests(TestCase):
    fixtures = ["examples"]

    def test_stock_is_taken_at_confirmation_and_for_nothing_else(self):
        Order.objects.get(pk=1).save()
        self.client.post("/2/confirm/")
        self.assertEqual(len(run_pending()), 1)
        self.assertEqual(Product.objects.get().stock, 8)
"""


def test_the_post_save_variant_takes_stock_at_confirmation(tmp_path: Path) -> None:
    project = copy(STEPS[-1], tmp_path)
    orders = project.folder / "orders"
    example = ROOT / "docs" / "howto" / "examples" / "confirmed_by_post_save.py"
    shutil.copy(example, orders / "receivers.py")
    (orders / "tests_of_variant.py").write_text(POST_SAVE)
    project.run("manage.py", "test", "orders.tests_of_variant")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as server:
        yield server


def test_a_worker_delivers_what_the_last_step_sends(
    redis: RedisServer, tmp_path: Path
) -> None:
    project = copy(STEPS[-1], tmp_path, BROKER_URL=redis.url)
    project.run("manage.py", "migrate")
    project.run("manage.py", "loaddata", "examples")
    worker = project.start("-m", "celery", "-A", "mysite", "worker", "-c", "1")
    try:
        press = 'from django.test import Client; print(Client().post("/2/confirm/"))'
        assert "302" in project.run("manage.py", "shell", "-c", press)
        _wait_for(project, '"succeeded": 2')
        assert "To: bob@example.com" in project.log.read_text()
        stock = "from orders.models import Product; print(Product.objects.get().stock)"
        assert project.run("manage.py", "shell", "-v0", "-c", stock).strip() == "8"
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


def _wait_for(project: Project, told: str, seconds: float = 60) -> None:
    """Ask for the status, which exits 0 when all is well, until it tells this."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        asked = project.start(
            "manage.py", "signal_tasks", "status", "--json", output=subprocess.PIPE
        )
        if told in asked.communicate()[0] and asked.returncode == 0:
            return
    pytest.fail(f"no {told} within {seconds} s: {project.log.read_text()}")
