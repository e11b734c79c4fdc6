"""Headers and context as they are stored with an event: one text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from signal_tasks import spans, stored_json
from signal_tasks.context.carrying import CAUSES, hooks, key_scope
from signal_tasks.context.current import CORRELATION, MAX_CORRELATION, correlation
from signal_tasks.error_text import printable
from signal_tasks.exceptions import DecodeError
from signal_tasks.spans import TRACEPARENT

#: Name of the hook whose value is the correlation id where no other is given.
REQUEST = "request_id"


class StoredContext(NamedTuple):
    """The context of a send in the columns of its event.

    Attributes:
        headers: the headers together with the captured context and causes, as text.
        correlation: the correlation id, to search by; None if it is the event's id.
        scope: the tenant whose keys are meant, or nothing; see Note [Keys].
    """

    headers: str
    correlation: str | None
    scope: str = ""


def stored_context(
    headers: Mapping[str, Any] | None,
    causes: Sequence[Sequence[str]] = (),
    *,
    database: str,
) -> StoredContext:
    """Return the headers, and whatever is carried with them, as they are stored.

    ``database`` is that of the event.

    Raises:
        TypeError: a hook captures something else than a JSON value.
    """
    carried: dict[str, Any] = {CAUSES: causes} if causes else {}
    for hook in hooks():
        if (value := hook.capture()) is not None:
            _check_json(hook.name, value)
            carried[hook.name] = value
    headers = headers or {}
    scope = key_scope(carried, database)
    carried |= _own_context(headers, carried)
    if not headers and not carried:
        return StoredContext("", None)
    text = json.dumps([headers, carried] if carried else headers)
    found = headers.get(CORRELATION) or carried_correlation(carried)
    return StoredContext(text, stored_correlation(found) if found else None, scope)


def stored_correlation(text: object) -> str:
    """Return a correlation id as the column holds it."""
    return printable(str(text)[:MAX_CORRELATION])[:MAX_CORRELATION]


def _own_context(
    headers: Mapping[str, Any], carried: Mapping[str, Any]
) -> dict[str, str]:
    """Return the trace and the correlation id, where they are not known without."""
    own = {}
    if trace := spans.traceparent():
        own[TRACEPARENT] = trace
    if not headers.get(CORRELATION):
        inherited = correlation()
        if inherited and inherited != carried_correlation(carried):
            own[CORRELATION] = inherited
    return own


def carried_correlation(carried: Mapping[str, Any]) -> str:
    """Return the correlation id that travels in a carried context, or nothing."""
    return str(carried.get(CORRELATION) or carried.get(REQUEST) or "")


def _check_json(name: str, value: object) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The context {name!r} cannot travel; capture() has to return a JSON "
            f"value: {error}"
        ) from error


def split_headers(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the headers and the context that ``stored_context`` has put together.

    Raises:
        DecodeError: somebody has damaged the text since.
    """
    if not text:
        return {}, {}
    try:
        found = stored_json.read(text)
    except DecodeError as error:
        raise DecodeError(f"the headers are damaged: {error}") from error
    headers, carried = found if _is_pair(found) else (found, {})
    if not (isinstance(headers, dict) and isinstance(carried, dict)):
        raise DecodeError("the headers are damaged: they are not an object")
    return headers, carried


def _is_pair(found: object) -> bool:
    return isinstance(found, list) and len(found) == 2
