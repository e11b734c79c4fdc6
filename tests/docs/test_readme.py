"""README's example is a project that works, and README reads well wherever it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.projects import ROOT, Project

README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: What the example's reader would want to see.
TESTS = """
from django.core import mail
from django.db import transaction
from django.test import TestCase
from orders.models import Order, Product
from orders.services import confirm
from signal_tasks.testing import run_pending

class ReadmeTests(TestCase):
    def setUp(self):
        product = Product.objects.create()
        self.order = Order(product=product, quantity=2, email="ada@example.com")

    def test_the_example_does_what_it_says(self):
        confirm(self.order)
        confirmation, inventory = sorted(run_pending(), key=lambda each: each.receiver)
        self.assertEqual(Product.objects.get().stock, 8)
        message_id = mail.outbox[0].extra_headers["Message-ID"]
        self.assertIn(str(confirmation.id), message_id)

    def test_a_rollback_sends_nothing(self):
        with transaction.atomic():
            confirm(self.order)
            transaction.set_rollback(True)
        self.assertEqual(run_pending(), [])
"""


def files_of_the_example() -> dict[str, str]:
    """The files that README's example is made of, by their paths."""
    example = re.search(r"```python\n(# mysite/celery.py.*?)```", README, re.DOTALL)
    assert example is not None
    parts = re.split(r"^# (\w+/\w+\.py).*\n", example[1], flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Make a fresh project, and copy the example into it."""
    library, folder = tmp_path / "library", tmp_path / "project"
    library.mkdir()
    folder.mkdir()
    (library / "signal_tasks").symlink_to(ROOT / "signal_tasks")
    inherited = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    project = Project(folder, inherited | {"PYTHONPATH": str(library)})
    project.run("-m", "django", "startproject", "mysite", ".")
    project.run("manage.py", "startapp", "orders")
    for path, code in files_of_the_example().items():
        file = folder / path
        before = file.read_text() if file.name == "settings.py" else ""
        file.write_text(f"{before}\n{code}")
    return project


def test_the_example_runs_as_it_stands_in_a_fresh_project(project: Project) -> None:
    project.run("manage.py", "makemigrations", "orders")
    project.run("manage.py", "check", "--fail-level", "WARNING")
    (project.folder / "orders" / "tests.py").write_text(TESTS)
    project.run("manage.py", "test")


def test_the_extras_that_readme_names_are_those_of_the_package() -> None:
    named = set(re.findall(rf'"{PROJECT["name"]}\[(\w+)\]"', README))
    others = re.search(r"the extras ((?:`\w+`(?:, | and )?)+)", README)
    assert others is not None
    named |= set(re.findall(r"\w+", others[1])) - {"and"}
    assert named == set(PROJECT["optional-dependencies"])


def test_the_costs_are_those_that_were_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    columns = ["drain of", "CPU per", "flow", "added to", "commit to", "memory of"]
    for number, contender in enumerate(("plain Celery, tuned", "signal_tasks")):
        row = re.search(rf"^\| {contender} \| (.*) \|$", page, re.MULTILINE)
        assert row is not None
        measured = dict(zip(columns, row[1].split(" | "), strict=True))
        for column in set(columns) - {"flow"}:
            assert told(column)[number] == rounded(measured[column]), column
    for column in set(columns) - {"flow"}:
        theirs, ours, ratio = map(first_number, told(column))
        assert ratio == float(f"{ours / theirs:.2g}"), column


def told(column: str) -> list[str]:
    """Return the cells of README's table in the row that begins so."""
    row = re.search(rf"^\| {column}[^|]*\|(.*)\|$", README, re.MULTILINE)
    assert row is not None, column
    return [rounded(cell) for cell in row[1].split("|")]


def first_number(cell: str) -> float:
    return float(cell.partition(" / ")[0].replace(",", ""))


def rounded(cell: str) -> str:
    """Return a cell without the fractions of a number above 100."""
    cell = cell.strip()
    return f"{float(cell):.0f}" if re.fullmatch(r"\d{3}\.\d+", cell) else cell


def test_the_package_shows_readme_with_links_that_lead_to_the_repository() -> None:
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "--long-description"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    targets = re.findall(r"\]\(([^)]+)\)", shown)
    repository = PROJECT["urls"]["Repository"]
    ours = [each for each in targets if each.startswith(repository)]
    assert len(ours) == len(re.findall(r"\]\((?!http|#)", README)) > 40
    for target in targets:
        assert target.startswith(("https://", "#")), target
    for target in ours:
        kind, branch, path = target.removeprefix(f"{repository}/").split("/", 2)
        assert (ROOT / path.partition("#")[0]).exists(), path
        assert (kind, branch) == ("raw" if path.endswith(".png") else "blob", "main")


def test_every_address_of_the_package_is_in_the_one_repository() -> None:
    urls = PROJECT["urls"]
    assert {"Repository", "Documentation", "Changelog"} <= set(urls)
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
