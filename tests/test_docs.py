"""The documents say what is there: links, settings, checks, the README's example."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from django.dispatch import Signal

import signal_tasks
from signal_tasks import checks, operations
from signal_tasks import signals as lifecycle
from signal_tasks.conf import Settings
from signal_tasks.db.coalesce import merge
from signal_tasks.db.complete import complete
from signal_tasks.management.commands.signal_tasks import Command
from signal_tasks.querysets import DeliveryQuerySet
from tests.docs.included import with_files

ROOT = Path(__file__).resolve().parents[1]
SITE = (ROOT / "mkdocs.yml").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target.strip()).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_that_is_a_file_of_its_own_is_the_same_in_the_page(document: Path) -> None:
    text = document.read_text()
    assert text == with_files(text), "python -m tests.docs.included"


def test_what_readme_links_to_needs_no_site_to_be_read() -> None:
    """A code host shows includes, and the directives of the reference, as they stand."""
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#:]+\.md)", text):
        page = (ROOT / target).read_text()
        assert not re.findall(r"^(?:--8<--|::: ).*", page, re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_python_example_is_python(document: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        compile(block, str(document), "exec")


def test_each_note_of_the_code_has_a_name_of_its_own() -> None:
    """References name a note, and not the module that it stands in."""
    sources = [path.read_text() for path in (ROOT / "signal_tasks").rglob("*.py")]
    notes = [
        name
        for text in sources
        for name in re.findall(r"^(?:# )?# Note \[(.+)\]$", text, re.MULTILINE)
    ]
    assert notes
    assert sorted(notes) == sorted(set(notes))


def test_every_setting_is_documented() -> None:
    page = (REFERENCE / "settings.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert documented == {field.name for field in fields(Settings)}


def test_every_check_is_documented() -> None:
    page = (REFERENCE / "checks.md").read_text()
    documented = set(re.findall(r"^\| `signal_tasks\.(\w+)` \|", page, re.MULTILINE))
    ids = {(check.__doc__ or "").partition(":")[0] for check in checks.ALL}
    assert documented == ids


def test_every_command_is_documented() -> None:
    page = (REFERENCE / "commands.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    usage = Command().create_parser("manage.py", "signal_tasks").format_help()
    verbs = re.search(r"{([a-z]+,[a-z,]+)}", usage)
    assert verbs is not None
    assert set(documented) == set(verbs[1].split(","))


@pytest.mark.parametrize("module", [signal_tasks, operations], ids=lambda m: m.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    page = (REFERENCE / "api.md").read_text()
    home = re.escape(module.__name__)
    documented = re.findall(rf"^::: {home}\.(\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(module.__all__)


def test_every_lifecycle_signal_is_documented_with_each_field() -> None:
    page = (REFERENCE / "lifecycle_signals.md").read_text()
    rows = re.findall(r"^\| (?:`(\w+)` )?\| `(\w+)` \|", page, re.MULTILINE)
    documented: dict[str, list[str]] = {}
    for first, second in rows:
        documented.setdefault(first or next(reversed(documented)), []).append(second)
    for name, value in vars(lifecycle).items():
        if isinstance(value, Signal):
            (details,) = documented[name]
            cls = getattr(lifecycle, details)
            assert documented[details] == [field.name for field in fields(cls)]


def test_every_verb_of_the_state_machine_is_one_of_the_engine() -> None:
    page = (ROOT / "docs" / "state_machine.md").read_text()
    tables = page[page.index("## The verbs that") : page.index("## Guards")]
    verbs = {
        verb
        for row in re.findall(r"^\| (`[\w`, ]+`) \|", tables, re.MULTILINE)
        for verb in re.findall(r"\w+", row)
    }
    assert {verb for verb in verbs if not hasattr(DeliveryQuerySet, verb)} == {
        complete.__name__,
        merge.__name__,
    }


def test_the_diagram_of_the_states_has_the_edges_of_the_table() -> None:
    page = (ROOT / "docs" / "state_machine.md").read_text()
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+),", page, re.MULTILINE)
    told = [
        (start, end, verb)
        for verb, starts, ends in re.findall(
            r"^\| `(\w+)` \| ([a-z, ]+) → ([a-z, ]+) \|", page, re.MULTILINE
        )
        for start in starts.split(", ")
        for end in ends.split(", ")
    ]
    assert sorted(drawn) == sorted(told)


def test_what_the_tour_of_the_shop_points_at_is_there() -> None:
    page = (ROOT / "docs" / "shop.md").read_text()
    for path in re.findall(r"`(\w+/[\w/]+\.py)`", page):
        assert (ROOT / path).exists(), path
    for app, name in re.findall(r"`(\w+)\.signals\.(\w+)`", page):
        assert hasattr(import_module(f"{app}.signals"), name), name


def test_what_the_package_says_it_supports_has_passed_in_the_table() -> None:
    page = (REFERENCE / "compatibility.md").read_text()
    passed = re.findall(
        r"^\| ([\d.]+) \| ([\d.]+) \| .* \| passed \|$", page, re.MULTILINE
    )
    for column, name in enumerate(("Python", "Framework :: Django")):
        said = re.findall(rf'"(?:Programming .*)?{name} :: (\d+\.\d+)"', PROJECT)
        ran = {".".join(row[column].split(".")[:2]) for row in passed}
        assert said
        assert ran == set(said)


def test_every_page_is_in_the_navigation() -> None:
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r"[\w/-]+\.md", SITE)) == pages


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\((\S+\.md)\)", (folder / "index.md").read_text()))
    assert listed == {page.name for page in folder.iterdir()} - {"index.md"}


def test_the_site_is_built_without_a_warning_and_fetches_nothing(
    tmp_path: Path,
) -> None:
    built = _build_site(tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = "".join(page.read_text() for page in (tmp_path / "site").rglob("*.html"))
    fetched = r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=.?(?:https?:)?//[^ >]*"
    assert not re.findall(fetched, pages)


def _build_site(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build it as ``make docs`` does, in a folder of the test's own."""
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    for name in ("docs", "signal_tasks"):
        shutil.copytree(ROOT / name, folder / name)
    zensical = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(zensical, cwd=folder, capture_output=True, text=True)
