"""Read the JSON of rows, which whoever writes to the database may have damaged.

Damaged text is a ``DecodeError``, or is shown as it is; nothing else is raised.
"""

from __future__ import annotations

import json
from typing import Any

from signal_tasks.exceptions import DecodeError

#: Levels of lists and objects that are laid out. The text of deeper ones is shown, since
#: indents would make it many times as long, and Python's stack has an end.
MAX_DEPTH = 100


def read(text: str) -> Any:
    """Return the value, or raise ``DecodeError``.

    Python refuses what is nested too deeply, and numbers of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"it is not JSON that can be read: {error}") from error


def shown(text: str) -> Any:
    """Return the value, or the text itself where that is damaged or nested deeply."""
    try:
        value = read(text)
    except DecodeError:
        return text
    return value if _is_shallow(value) else text


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for child in _children(each)]
        if not level:
            return True
    return False


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
