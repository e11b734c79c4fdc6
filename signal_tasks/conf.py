"""The ``SIGNAL_TASKS`` setting, read here and nowhere else.

One dict in the project's settings becomes one frozen, typed object.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.utils.functional import empty

from signal_tasks.retry import RetryPolicy

NAME = "SIGNAL_TASKS"
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every key of ``SIGNAL_TASKS`` with its default; durations are in seconds."""

    #: Aliases whose transactions send events. None: every alias that
    #: ``signal_tasks`` may be migrated to.
    DATABASES: tuple[str, ...] | None = None
    #: Queue of receivers that name none. None: Celery's own default and routes.
    QUEUE: str | None = None
    #: Policy of receivers that name none.
    RETRY: RetryPolicy = field(default_factory=RetryPolicy)
    #: How long a worker may hold a delivery of a receiver without ``timeout``
    #: before another worker may run it.
    LEASE: float = 60.0
    #: Largest encoded payload of one event, in bytes.
    MAX_PAYLOAD_BYTES: int = 262_144
    #: Longest stored traceback of a failed attempt, in characters.
    MAX_TRACEBACK_CHARS: int = 20_000
    #: Most delivery ids in one message.
    CHUNK_SIZE: int = 100
    #: A group of atomic deliveries is committed after about this long.
    GROUP_SECONDS: float = 0.1
    #: A message that has worked for this long hands the rest of its ids back.
    MESSAGE_SECONDS: float = 1.0
    #: Least time between two bursts of the publisher thread.
    PUBLISH_INTERVAL: float = 0.01
    #: Longest wait for the broker in one publication.
    PUBLISH_TIMEOUT: float = 0.5
    #: After a failed publication the broker is left alone for this long.
    BREAKER_SECONDS: float = 5.0
    #: Most ids that wait for the publisher thread; the relay brings the others.
    PUBLISH_BACKLOG: int = 100_000
    #: Whether every Celery worker runs a relay.
    RELAY_IN_WORKER: bool = True
    #: Time between two passes of a relay.
    RELAY_INTERVAL: float = 1.0
    #: What has not been taken this long after its publication is published
    #: again, then after twice that time, and so on up to ``REPUBLISH_MAX``.
    REPUBLISH_AFTER: float = 5.0
    REPUBLISH_MAX: float = 3600.0
    #: How long ended deliveries are kept; None keeps them.
    KEEP_SUCCEEDED: timedelta | None = WEEK
    KEEP_DISCARDED: timedelta | None = WEEK
    KEEP_DEAD: timedelta | None = None
    #: A worker or relay not seen for this long counts as gone.
    WORKER_TTL: float = 30.0
    #: A due delivery that waits for longer than this makes ``status`` unhealthy.
    MAX_PENDING_AGE: float = 300.0


def settings() -> Settings:
    """The settings in force; keys that are wrong are left to ``manage.py check``.

    Read anew when the project's dict is another one. Not when Django announces a
    change: a thread could put the old one back into a cache just then.
    """
    global _read
    given = _given()
    if _read is None or _read[0] is not given:
        known = {f.name for f in fields(Settings)}
        chosen = {key: value for key, value in (given or {}).items() if key in known}
        _read = (given, Settings(**chosen))
    return _read[1]


_read: tuple[object, Settings] | None = None


def _given() -> Any:
    """The project's dict, if it has one.

    Django looks for a setting that is not there anew each time, for 3 microseconds,
    and its proxy takes one for each look at it; a send asks five times. So the object
    behind the proxy is asked, once there is one.
    """
    behind = object.__getattribute__(django_settings, "_wrapped")
    return getattr(django_settings if behind is empty else behind, NAME, None)


def problems(given: object) -> Iterator[str]:
    """One sentence for each thing that is wrong with a ``SIGNAL_TASKS`` value."""
    if not isinstance(given, Mapping):
        yield f"{NAME} is {given!r}; give a dict."
        return
    known = {f.name: f for f in fields(Settings)}
    for key, value in given.items():
        if key not in known:
            yield f"{NAME}[{key!r}] is not a setting.{_suggestion(key, known)}"
        elif wrong := _wrong_value(key, value):
            yield f"{NAME}[{key!r}] is {value!r}; {wrong}."


def _suggestion(key: object, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(str(key).upper(), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _wrong_value(key: str, value: object) -> str:
    default = getattr(Settings(), key)
    if key == "DATABASES":
        return "" if _is_aliases(value) else "give None or a list of aliases"
    if key == "QUEUE":
        fine = value is None or (isinstance(value, str) and value)
        return "" if fine else "give None or a name"
    if key.startswith("KEEP_"):
        fine = value is None or isinstance(value, timedelta)
        return "" if fine else "give None or a timedelta"
    if isinstance(default, bool | RetryPolicy):
        fine = isinstance(value, type(default))
        return "" if fine else f"give a {type(default).__name__}"
    return _wrong_number(value, whole=isinstance(default, int))


def _wrong_number(value: object, *, whole: bool) -> str:
    kinds: Any = int if whole else (int, float)
    if isinstance(value, kinds) and not isinstance(value, bool) and value > 0:
        return ""
    return f"give a positive {'whole ' if whole else ''}number"


def _is_aliases(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list | tuple) and all(
        alias in django_settings.DATABASES for alias in value
    )
