"""Options of one send, as ``using()`` takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from django.utils import timezone

from signal_tasks.outbox import subjects
from signal_tasks.outbox.keys import key_text
from signal_tasks.validation import MAX_SECONDS, is_duration, is_number

OnDuplicate = Literal["skip", "raise"]
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Dedupe:
    """A key under which a signal is sent once in ``seconds``, as given and as stored."""

    given: Any
    key: str
    seconds: float
    on_duplicate: OnDuplicate

    @classmethod
    def checked(cls, key: Any, within: float | timedelta, answer: Any) -> Dedupe | None:
        """Check ``dedupe_key``, ``dedupe_for`` and ``on_duplicate``; raise as they do."""
        if answer not in get_args(OnDuplicate):
            wanted = "give 'skip' or 'raise'"
            raise ValueError(f"using(): on_duplicate is {answer!r}; {wanted}")
        seconds = within.total_seconds() if isinstance(within, timedelta) else within
        if not is_duration(seconds):
            wanted = "give a positive number of seconds or a timedelta"
            raise ValueError(f"using(): dedupe_for is {within!r}; {wanted}")
        if key is not None:
            text = key_text(key, "using(): dedupe_key")
            return cls(key, text, float(seconds), answer)
        if within != DAY:
            raise ValueError("using(): dedupe_for means nothing without dedupe_key")
        if answer == "raise":
            raise ValueError("using(): on_duplicate means nothing without dedupe_key")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """The options of a send; ``delay`` is in seconds, ``key`` empty if there is none.

    ``sensitive``, ``snapshot`` (of all model instances) and ``settles`` (somebody hears
    when all has finished) are those of the signal and of its receivers, and not of
    ``using()``.
    """

    delay: float = 0.0
    at: datetime | None = None
    database: str | None = None
    headers: Mapping[str, Any] | None = None
    subject: str | None = None
    key: str = ""
    dedupe: Dedupe | None = None
    sensitive: tuple[str, ...] = ()
    snapshot: bool = False
    settles: bool = False

    @classmethod
    def checked(  # noqa: PLR0913 - one keyword per option
        cls,
        *,
        delay: float | timedelta | None,
        at: datetime | None,
        database: str | None,
        headers: Mapping[str, Any] | None,
        subject: Any = None,
        key: Any = None,
        dedupe: Dedupe | None = None,
    ) -> SendOptions:
        """Check the arguments of ``using()``.

        Raises:
            TypeError, ValueError: for a naive datetime, one more than a hundred years
                away, both of ``delay`` and ``at``, headers that are not JSON, or a
                subject or key that cannot be one.
        """
        if delay is not None and at is not None:
            raise ValueError("using(): give delay or at, not both")
        return cls(
            delay=_seconds(delay),
            at=_moment(at),
            database=database,
            headers=_json_headers(headers),
            subject=subjects.checked(subject),
            key="" if key is None else key_text(key, "using(): key"),
            dedupe=dedupe,
        )

    @property
    def immediate(self) -> bool:
        """True if a worker may run the deliveries as soon as they are committed."""
        return self.delay == 0.0 and self.at is None


#: The options of a send without ``using()``.
PLAIN = SendOptions()


def _seconds(delay: float | timedelta | None) -> float:
    if delay is None:
        return 0.0
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    wanted = f"give 0 to {MAX_SECONDS:.0f} seconds, or a timedelta"
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"using(): delay is {delay!r}; {wanted}")
    if not (is_number(seconds) and 0 <= seconds <= MAX_SECONDS):
        raise ValueError(f"using(): delay is {delay!r}; {wanted}")
    return float(seconds)


def _moment(at: object) -> datetime | None:
    wanted = f"using(): at is {at!r}; give a datetime with a time zone"
    if at is None:
        return None
    if not isinstance(at, datetime):
        raise TypeError(wanted)
    if timezone.is_naive(at):
        raise ValueError(wanted)
    if abs((at - timezone.now()).total_seconds()) > MAX_SECONDS:
        raise ValueError(f"using(): at is {at!r}; give one within a hundred years")
    return at


def _json_headers(headers: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if headers is None:
        return None
    if not isinstance(headers, Mapping):
        raise TypeError(
            f"using(): headers is {headers!r}; give a mapping of JSON values"
        )
    try:
        copy = dict(headers)
        json.dumps(copy, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"using(): headers have to be a mapping of JSON values: {error}"
        ) from error
    return copy
