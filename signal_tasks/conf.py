"""The ``SIGNAL_TASKS`` setting: one dict becomes one frozen, typed object."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import lru_cache

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from signal_tasks.alert import AlertOptions, option_errors, read_options
from signal_tasks.retry import RetryPolicy
from signal_tasks.validation import BOOL, COUNT, POSITIVE, Rule, a, errors, optional
from signal_tasks.validation import NAME as A_NAME

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
    #: Dotted paths of classes that carry the sender's context to its receivers.
    CONTEXT: tuple[str, ...] = ()
    #: Largest encoded payload of one event, in bytes.
    MAX_PAYLOAD_BYTES: int = 262_144
    #: Most causes of an event, each an event in whose receiver the next one was sent.
    MAX_DEPTH: int = 16
    #: Longest stored traceback of a failed attempt, in characters.
    MAX_TRACEBACK_CHARS: int = 20_000
    #: Most delivery ids in one message.
    CHUNK_SIZE: int = 100
    #: Atomic deliveries that share a commit are committed after about this long.
    GROUP_SECONDS: float = 0.1
    #: A worker that has worked on a message for this long releases the rest of it.
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
    #: A delivery that is not claimed this long after its publication is published
    #: again, then after twice that time, and so on up to ``REPUBLISH_MAX``.
    REPUBLISH_AFTER: float = 5.0
    REPUBLISH_MAX: float = 3600.0
    #: How long finished deliveries are kept; None keeps them.
    KEEP_SUCCEEDED: timedelta | None = WEEK
    KEEP_DISCARDED: timedelta | None = WEEK
    KEEP_DEAD: timedelta | None = None
    #: Whether workers and relays count what they do, for metrics and pages.
    HISTORY: bool = True
    #: How long the counts of each hour are kept; those of each minute for two days.
    KEEP_HISTORY: timedelta | None = timedelta(days=90)
    #: Who presents this token gets the metrics. None: only staff that may see
    #: deliveries.
    METRICS_TOKEN: str | None = None
    #: Where Flower is; the dashboard leads to its tasks then.
    FLOWER_URL: str | None = None
    #: Whether sends, publications, claims and runs are traced by OpenTelemetry.
    TRACING: bool = False
    #: How long entries of the audit trail and finished operations are kept.
    KEEP_AUDIT: timedelta | None = timedelta(days=365)
    #: A worker or relay that has not reported for this long counts as gone: relays
    #: release what it held.
    WORKER_TTL: float = 10.0
    #: A due delivery that waits for longer than this makes ``status`` unhealthy.
    MAX_PENDING_AGE: float = 300.0
    #: Dead letters since somebody last looked; more of them make ``status`` unhealthy.
    MAX_NEW_DEAD: int = 0
    #: Whom to tell of problems: a dict with the keys of ``AlertOptions``. None: nobody.
    ALERTS: AlertOptions | None = None


def settings() -> Settings:
    """Return the settings in force; keys that are wrong are left to ``check``."""
    return _read(_generation)


_generation = 0


@lru_cache(maxsize=2)
def _read(generation: int) -> Settings:
    """Read the dict once per generation.

    A thread that was reading while the setting changed fills the place of an older
    generation, which nobody looks at any more.
    """
    given = getattr(django_settings, NAME, None)
    given = given if isinstance(given, Mapping) else {}
    known = {f.name for f in fields(Settings)}
    values = {key: value for key, value in given.items() if key in known}
    values["ALERTS"] = read_options(values.get("ALERTS"))
    return Settings(**values)


def _setting_changed(*, setting: str, **_: object) -> None:
    global _generation
    if setting == NAME:
        _generation += 1


setting_changed.connect(_setting_changed, dispatch_uid="signal_tasks.conf")


def setting_errors(given: object) -> Iterator[str]:
    """Yield one sentence for each thing that is wrong with a ``SIGNAL_TASKS`` value."""
    if not isinstance(given, Mapping):
        yield f"{NAME} is {given!r}; give a dict."
        return
    known = {f.name for f in fields(Settings)}
    for key in given:
        if key not in known:
            yield f"{NAME}[{key!r}] is not a setting.{_suggestion(key, known)}"
    yield from (f"{error}." for error in errors(_RULES, given, f"{NAME}[{{!r}}]"))
    alerts = option_errors(given.get("ALERTS"), f"{NAME}['ALERTS']")
    yield from (f"{error}." for error in alerts)


def _suggestion(key: object, known: set[str]) -> str:
    close = difflib.get_close_matches(str(key).upper(), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _are_aliases(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        alias in django_settings.DATABASES for alias in value
    )


def _are_paths(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(path, str) and "." in path for path in value
    )


def _is_token(value: object) -> bool:
    return isinstance(value, str) and len(value) >= 16 and value.isprintable()


def _is_address(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://", "/"))


def _rule(name: str, default: object) -> Rule:
    if name.startswith("KEEP_"):
        return optional(a(timedelta))
    if isinstance(default, bool):
        return BOOL
    if isinstance(default, RetryPolicy):
        return a(RetryPolicy)
    return COUNT if isinstance(default, int) else POSITIVE


_RULES = {f.name: _rule(f.name, getattr(Settings(), f.name)) for f in fields(Settings)}
_RULES |= {
    "ALERTS": Rule(lambda _: True, ""),  # option_errors says more
    "DATABASES": optional(Rule(_are_aliases, "a list of aliases")),
    "CONTEXT": Rule(_are_paths, "a list of dotted paths of classes"),
    "QUEUE": optional(A_NAME),
    "METRICS_TOKEN": optional(Rule(_is_token, "a text of at least 16 characters")),
    "FLOWER_URL": optional(Rule(_is_address, "an address such as https://flower/")),
    "MAX_NEW_DEAD": Rule(
        lambda value: type(value) is int and value >= 0, "a whole number from 0"
    ),
}
