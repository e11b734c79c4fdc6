"""The documents say what is there: links, settings, checks, the README's example."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from signal_tasks import checks
from signal_tasks.conf import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATING = (ROOT / "docs" / "operating.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target.strip()).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_python_example_is_python(document: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        compile(block, str(document), "exec")


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", OPERATING, re.MULTILINE))
    assert documented == {field.name for field in fields(Settings)}


def test_every_check_is_documented() -> None:
    documented = set(
        re.findall(r"^\| `signal_tasks\.(\w+)` \|", OPERATING, re.MULTILINE)
    )
    ids = {(check.__doc__ or "").partition(":")[0] for check in checks.ALL}
    assert documented == ids
