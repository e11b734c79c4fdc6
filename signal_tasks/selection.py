"""The deliveries that an operation is for."""

from __future__ import annotations

import difflib
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, Exists, OuterRef, Q, Subquery, Value, When
from django.utils import timezone

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import from_now
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.states import Reason, State
from signal_tasks.validation import as_id

#: A moment, or how long ago it was.
Since = datetime | timedelta
#: Makes a condition from a comparison, a time and the alias of a database.
Condition = Callable[[str, Any, str], Q]
#: The options of the command, where they are named differently.
OPTIONS = {"fingerprint": "group"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The deliveries that an operation is for; everything that is given has to match.

    ``since`` and ``until`` are about the time at which a delivery finished; for one
    that has not finished, about the time at which it was sent.

    Attributes:
        ids: of deliveries; the default, an empty tuple, is not given.
        receiver: name of the receiver.
        signal: name of the signal.
        state: of the delivery.
        reason: why it is dead.
        fingerprint: of the failure group; dead letters only.
        subject: the object that the event is about, as ``app.model:pk``.
        since: an aware datetime, or a timedelta for so long ago; inclusive.
        until: the same; exclusive.
        error: text that the type or the text of the last failure contains, in small
            or capital letters.

    Raises:
        ValueError: an empty list, set or text, since nothing was meant; a state or
            reason that does not exist; a naive datetime; an id that is none.
    """

    ids: Collection[uuid.UUID] = ()
    receiver: str | None = None
    signal: str | None = None
    state: str | None = None
    reason: str | None = None
    fingerprint: str | None = None
    subject: str | None = None
    since: Since | None = None
    until: Since | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _ids(self.ids))
        for name in TEXTS:
            _check_text(name, getattr(self, name))
        _check_choice("state", self.state, State.values)
        _check_choice("reason", self.reason, Reason.values)
        _check_time("since", self.since)
        _check_time("until", self.until)

    @property
    def is_empty(self) -> bool:
        """True if nothing is given, so that every delivery matches."""
        return not list(self._given())

    def rows(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return the deliveries of one database that match."""
        return self._timed(self._named(database), _finished_or_sent)

    def _named(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return those that match in everything but time."""
        conditions = {
            "receiver": self.receiver,
            "event__signal": self.signal,
            "event__subject": self.subject,
            "state": self.state,
            "reason": self.reason,
        }
        given = {key: value for key, value in conditions.items() if value is not None}
        rows: DeliveryQuerySet[Delivery] = Delivery.objects.using(database).filter(
            **given
        )
        if self.ids:
            rows = rows.filter(pk__in=self.ids)
        if self.fingerprint is not None:
            rows = rows.of_group(self.fingerprint)
        if self.error is not None:
            rows = _with_error(rows, self.error)
        return rows

    def _timed(
        self, rows: DeliveryQuerySet[Delivery], condition: Condition
    ) -> DeliveryQuerySet[Delivery]:
        for comparison, time in (("gte", self.since), ("lt", self.until)):
            if isinstance(time, timedelta):
                rows = rows.filter(
                    condition(comparison, from_now(-time.total_seconds()), rows.db)
                )
            elif time is not None:
                rows = rows.filter(condition(comparison, time, rows.db))
        return rows

    def replayable(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return what ``replay`` changes: dead deliveries.

        Discarded ones only by their ids, or if the selection says ``discarded``: they
        were finished on purpose.
        """
        rows = self._timed(self._named(database), _finished)
        is_meant = self.ids or self.state == State.DISCARDED
        return rows.replayable() if is_meant else rows.dead()

    def discardable(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return what ``discard`` changes: pending and dead deliveries."""
        return self.rows(database).discardable()

    def count(self, cap: int | None = None, *, verb: str | None = None) -> int:
        """Return the number of deliveries that match, in all outboxes.

        Args:
            cap: count no further; ``cap + 1`` then stands for more than ``cap``.
            verb: "replay" or "discard": count only what that would change.
        """
        total = 0
        for database in outbox_aliases():
            rows = self.rows_for(verb, database).order_by()
            if cap is not None:
                rows = rows[: cap + 1 - total]
            total += rows.count()
            if cap is not None and total > cap:
                break
        return total

    def rows_for(self, verb: str | None, database: str) -> DeliveryQuerySet[Delivery]:
        """Return what a verb would change, or for None all that match."""
        if verb == "replay":
            return self.replayable(database)
        return self.discardable(database) if verb == "discard" else self.rows(database)

    def fixed(self, now: datetime | None = None) -> Selection:
        """Return the selection with moments in place of timedeltas, as of ``now``."""
        since, until = moment(self.since, now), moment(self.until, now)
        return replace(self, since=since, until=until)

    def words(self) -> str:
        """Return the selection as an English phrase, for people who have to decide."""
        return " ".join(self._words())

    def _words_of_events(self) -> Iterator[str]:
        yield "past events"
        for name, phrase in PHRASES_OF_EVENTS.items():
            value = getattr(self, name)
            if value is not None:
                yield phrase.format(_shown(value))

    def words_for(self, verb: str) -> str:
        """Return what a verb changes; a backfill means events, others deliveries."""
        return " ".join(self._words_of_events()) if verb == "backfill" else self.words()

    def _words(self) -> Iterator[str]:
        if self.is_empty:
            yield "all"
        if self.state is not None:
            yield self.state
        yield "deliveries" if len(self.ids) != 1 else "delivery"
        if self.ids:
            many = f"with {len(self.ids)} given ids"
            yield many if len(self.ids) > 1 else str(*self.ids)
        for name, phrase in PHRASES.items():
            value = getattr(self, name)
            if value is not None:
                yield phrase.format(_shown(value))

    def options(self) -> dict[str, str]:
        """Return the options of the command that select the same, without the ids."""
        return {
            OPTIONS.get(name, name): _shown(value, quoted=False)
            for name, value in self._given()
            if name != "ids"
        }

    def to_json(self) -> str:
        """Return the selection as text, the same for the same selection."""
        return json.dumps({name: _plain(value) for name, value in self._given()})

    @classmethod
    def from_json(cls, text: str) -> Selection:
        """Return the selection that ``to_json`` has written."""
        found: dict[str, Any] = json.loads(text)
        for name in ("since", "until"):
            if name in found:
                found[name] = _time(found[name])
        if "ids" in found:
            found["ids"] = tuple(found["ids"])
        return cls(**found)

    def _given(self) -> Iterator[tuple[str, Any]]:
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                yield each.name, value


#: Values that are texts.
TEXTS = ("receiver", "signal", "state", "reason", "fingerprint", "subject", "error")
PHRASES = {
    "receiver": "to the receiver {}",
    "signal": "of the signal {}",
    "subject": "about {}",
    "reason": "that are dead as {}",
    "fingerprint": "in the failure group {}",
    "error": "whose last failure contains {}",
    "since": "that finished, or else were sent, at or after {}",
    "until": "that finished, or else were sent, before {}",
}
PHRASES_OF_EVENTS = {
    "signal": "of the signal {}",
    "since": "sent at or after {}",
    "until": "and before {}",
    "receiver": "that {} has no delivery of",
}


def moment(time: Since | None, now: datetime | None = None) -> datetime | None:
    """Return a time as a moment: a timedelta is so long before ``now``."""
    if isinstance(time, timedelta):
        return (now or timezone.now()) - time
    return time


def _ids(given: Any) -> tuple[uuid.UUID, ...]:
    are_several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    if not are_several:
        raise ValueError(f"ids is {given!r}; give a list of ids")
    if not isinstance(given, tuple) and not given:
        raise ValueError("ids is empty; leave it out to select by something else")
    return tuple(sorted({as_id(each, "an id in ids") for each in given}))


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{name} is {value!r}; give a text, or leave it out")


def _check_choice(name: str, value: str | None, choices: list[str]) -> None:
    if value is not None and value not in choices:
        close = difflib.get_close_matches(value, choices, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"give one of {choices}"
        raise ValueError(f"{name} is {value!r}; {hint}")


def _check_time(name: str, value: object) -> None:
    if value is None or isinstance(value, timedelta):
        return
    if not isinstance(value, datetime) or timezone.is_naive(value):
        raise ValueError(
            f"{name} is {value!r}; give a datetime with a time zone, or a timedelta"
        )


def _finished_or_sent(comparison: str, at: Any, database: str) -> Q:
    """Compare the time at which a delivery finished, or else was sent."""
    events = Event.objects.using(database).filter(
        Q((f"sent_at__{comparison}", at)), pk=OuterRef("event_id")
    )
    finished = _finished(comparison, at, database)
    return finished | Q(Exists(events), finished_at__isnull=True)


def _finished(comparison: str, at: Any, database: str) -> Q:
    """Compare the time at which a delivery finished, where all have: by an index."""
    return Q((f"finished_at__{comparison}", at))


def _with_error(
    rows: DeliveryQuerySet[Delivery], text: str
) -> DeliveryQuerySet[Delivery]:
    """Keep those whose last failed attempt has the text in its error or its type."""
    has_text = Q(error__icontains=text) | Q(error_type__icontains=text)
    of_this = Attempt.objects.using(rows.db).filter(delivery_id=OuterRef("pk"))
    # A value, and no condition, of each row: made a join, it would read all attempts.
    last = of_this.order_by("-pk").values_list(
        Case(When(has_text, then=Value(1)), default=Value(0))
    )
    annotated: Any = rows.alias(last_has_text=Subquery(last[:1]))
    found: DeliveryQuerySet[Delivery] = annotated.filter(last_has_text=1)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return [str(each) for each in value] if isinstance(value, tuple) else value


def _time(stored: str | float) -> Since:
    if isinstance(stored, str):
        return datetime.fromisoformat(stored)
    return timedelta(seconds=stored)


def _shown(value: Any, *, quoted: bool = True) -> str:
    if isinstance(value, timedelta):
        seconds = f"{value.total_seconds():g}"
        return f"{seconds} seconds ago" if quoted else f"{seconds}s"
    if isinstance(value, datetime):
        return value.isoformat(sep=" " if quoted else "T", timespec="seconds")
    return str(value)
