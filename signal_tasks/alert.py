"""Alerts as values: what is told, and the setting that says to whom and when.

``signal_tasks.alerting`` finds out what to tell, and tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from django.conf import settings as django_settings

from signal_tasks.validation import DURATION, Rule, errors, is_duration

#: The value of ``EMAIL`` that stands for Django's own setting.
ADMINS = "ADMINS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something has gone wrong, or is over: the argument of callables in ``CALL``.

    Attributes:
        kind: ``dead_letters``, ``oldest_wait``, ``no_worker``, ``broker_away``,
            ``breaker_open``, ``stuck_operation``, ``unknown_receiver``,
            ``unpublishable`` or ``blocked_key``.
        subject: what it is about: a receiver, a queue, an operation; or empty.
        database: alias of the outbox.
        text: what ``status`` says of it, with the command that mends it; of what is
            over, what was said last.
        url: the page of the dashboard, or empty without ``URL``.
        since: when it was first seen, by the database's clock.
        is_over: True if it is no longer so.
    """

    kind: str
    subject: str
    database: str
    text: str
    url: str
    since: datetime
    is_over: bool

    @property
    def title(self) -> str:
        """A few words: what it is, and of what."""
        name = self.kind.replace("_", " ")
        over = "over: " if self.is_over else ""
        return over + (f"{name}: {self.subject}" if self.subject else name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOptions:
    """Every key of ``SIGNAL_TASKS["ALERTS"]`` with its default; durations in seconds."""

    #: Addresses, or "ADMINS" for those of Django's setting; by Django's mail.
    EMAIL: tuple[str, ...] | str = ()
    #: Dotted paths of callables that get an ``Alert`` each time.
    CALL: tuple[str, ...] = ()
    #: Address of the dashboard, for links.
    URL: str = ""
    #: Only what is still, or again, so after this time is told.
    AFTER: float = 60.0
    #: Nothing more is told of a problem for so long.
    COOLDOWN: float = 600.0


def read_options(given: object) -> AlertOptions | None:
    """Return the options of a setting; None if there is none to speak of."""
    if not isinstance(given, Mapping):
        return None
    known = {field.name for field in fields(AlertOptions)}
    return AlertOptions(**{key: given[key] for key in given if key in known})


def option_errors(given: object, label: str) -> Iterator[str]:
    """Yield one sentence, without a full stop, for each thing that is wrong."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield f"{label} is {given!r}; give a dict, or None"
        return
    known = [field.name for field in fields(AlertOptions)]
    for key in given:
        if key not in known:
            yield f"{label}[{key!r}] is not an option; there are {', '.join(known)}"
    yield from errors(_RULES, given, f"{label}[{{!r}}]")
    if not given.get("EMAIL") and not given.get("CALL"):
        yield f"{label} names nobody to be told; give EMAIL or CALL"
    if given.get("EMAIL") == ADMINS and not django_settings.ADMINS:
        yield f"{label}['EMAIL'] is {ADMINS!r}, and the setting ADMINS is empty"


def _are_addresses(value: object) -> bool:
    if value == ADMINS:
        return True
    return isinstance(value, list | tuple) and all(
        isinstance(each, str) and "@" in each for each in value
    )


def _are_paths(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(path, str) and "." in path for path in value
    )


def _is_address_of_page(value: object) -> bool:
    return isinstance(value, str) and (
        not value or value.startswith(("http://", "https://"))
    )


_RULES = {
    "EMAIL": Rule(_are_addresses, "a list of e-mail addresses, or 'ADMINS'"),
    "CALL": Rule(_are_paths, "a list of dotted paths of callables"),
    "URL": Rule(
        _is_address_of_page, "the address of the dashboard, with https:// in front"
    ),
    "AFTER": Rule(
        lambda value: is_duration(value) or (type(value) in (int, float) and not value),
        "a number of seconds that is not negative",
    ),
    "COOLDOWN": DURATION,
}
