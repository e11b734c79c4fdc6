"""No statement writes a column of the state machine but the verbs of deliveries."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import signal_tasks
from signal_tasks.models import Delivery

ROOT = Path(signal_tasks.__file__).parent
#: Where the verbs are, and the statements that they are made of.
VERBS = (ROOT / "querysets", ROOT / "db", ROOT / "migrations")
#: Where operations change rows of their own, which have a state as well.
OPERATIONS = (
    ROOT / "operations",
    *(ROOT / "relay" / f"{name}.py" for name in ("canary", "changes", "operating")),
)
#: What never changes once it is written.
CONSTANT = {"id", "event", "receiver"}
COLUMNS = {field.name for field in Delivery._meta.fields} - CONSTANT
WRITES = {
    "update", "aupdate", "bulk_update", "abulk_update", "update_or_create", "_change"
}  # fmt: skip
SQL = re.compile(
    r"\b(UPDATE|SET|DELETE|INSERT)\b(.|\n)*\bsignal_tasks_delivery\b", re.IGNORECASE
)
SQL_REVERSED = re.compile(r"\bsignal_tasks_delivery\b(.|\n)*\b(SET|VALUES)\b")


def writes(path: Path) -> Iterator[str]:
    """Yield a line for each statement that may change a delivery's state."""
    in_operations = any(path.is_relative_to(each) for each in OPERATIONS)
    for node in ast.walk(ast.parse(path.read_text())):
        if in_operations and _is_of_operations(node):
            continue
        if isinstance(node, ast.Call) and _is_update(node):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:60]}"
        elif isinstance(node, ast.Constant) and _is_sql(node.value):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {str(node.value)[:60]!r}"


def _is_of_operations(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and "deliver" not in ast.unparse(node).lower()


def _is_update(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    given = {keyword.arg for keyword in call.keywords}
    if call.func.attr == "save":
        return True  # the rows of deliveries are never saved as a whole
    texts = {n.value for n in ast.walk(call) if isinstance(n, ast.Constant)}
    named = given | {text for text in texts if isinstance(text, str)}
    return call.func.attr in WRITES and bool(named & COLUMNS)


def _is_sql(value: object) -> bool:
    is_text = isinstance(value, str)
    return is_text and bool(SQL.search(str(value)) or SQL_REVERSED.search(str(value)))


def modules() -> Iterator[Path]:
    return ROOT.rglob("*.py")


def is_of_verbs(path: Path) -> bool:
    return any(path.is_relative_to(each) for each in VERBS)


def test_only_verbs_write_what_a_state_consists_of() -> None:
    found = [
        line for path in modules() if not is_of_verbs(path) for line in writes(path)
    ]
    assert found == []


def test_the_verbs_themselves_are_found() -> None:
    """Without this, a search that finds nothing would prove nothing."""
    found = [line for path in modules() if is_of_verbs(path) for line in writes(path)]
    for expected in (
        "workers.py",
        "relays.py",
        "operators.py",
        "claim.py",
        "complete.py",
        "insert.py",
    ):
        assert any(expected in line for line in found), expected


def test_every_column_of_the_state_machine_is_watched() -> None:
    assert {
        "state", "reason", "attempts", "run", "lease", "claimed_by", "available_at",
        "next_check_at", "publish_count", "isolated", "orphaned", "finished_at",
    } <= COLUMNS  # fmt: skip
