"""Events: lists that can be searched, and everything about one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.utils import timezone

from signal_tasks.context import stored_correlation
from signal_tasks.db.clock import id_at, moment_of
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.reports import bounds, waterfall
from signal_tasks.reports.moments import id_of, moment, word
from signal_tasks.reports.payloads import ShownPayload, show

#: Events of one page, deliveries of one event, and steps of a chain that are shown.
PAGE, MAX_DELIVERIES, MAX_CHAIN = 50, 100, 50
#: The ids of events are made by the clocks of their senders, which may differ by this.
CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """The filters of the list, as the URL has them; empty ones match everything.

    Attributes:
        subject: ``app.model:pk``.
        signal: the full name.
        since: only events sent at this time or later.
        until: only events sent before.
        correlation: the correlation id of all that came of one.
        before: id of an event; only older ones are listed.
    """

    subject: str = ""
    signal: str = ""
    correlation: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: uuid.UUID | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> Self:
        """Read the filters from a URL; what makes no sense is left out."""
        return cls(
            subject=word(query.get("subject")),
            signal=word(query.get("signal")),
            correlation=word(query.get("correlation")),
            since=moment(query.get("since")),
            until=moment(query.get("until")),
            before=id_of(query.get("before")),
        )

    def query(self, **changes: Any) -> str:
        """Return the filters, with changes, as a query of a URL."""
        given = {each.name: getattr(self, each.name) for each in fields(self)} | changes
        texts = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value
        }
        return urlencode(texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """One event in a list."""

    id: uuid.UUID
    signal: str
    subject: str
    sent_at: datetime
    payload: ShownPayload
    states: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """A page of events.

    Attributes:
        lines: the events.
        older: the query of the next page, if there is one.
        searched_to: events of a signal were looked for among the latest ones, back to
            this moment; the next page looks further. None if none is left.
    """

    lines: Sequence[EventLine]
    older: str = ""
    searched_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """An event with its deliveries, its causes and its effects."""

    row: Event
    payload: ShownPayload
    headers: Mapping[str, Any]
    deliveries: Sequence[Delivery]
    failures: Mapping[uuid.UUID, Sequence[Attempt]]
    deliveries_are_cut: bool
    causes: Sequence[Event]
    effects: Sequence[Event]
    effects_are_cut: bool
    waterfall: waterfall.Waterfall

    @property
    def correlation(self) -> str:
        """The correlation id of the event and of all that came of the same."""
        return self.row.correlation or str(self.row.pk)


def events(database: str, wanted: EventFilter) -> EventPage:
    """Return the latest events that match; at most four statements.

    No index finds the events of a signal: each page looks at so many of the latest.
    """
    rows, edge = _made(database, wanted), None
    if wanted.signal and not wanted.subject and not wanted.correlation:
        edge = bounds.edge(rows, "pk")
    if edge is not None:
        rows = rows.filter(pk__gt=edge)
    conditions = {
        "subject": wanted.subject,
        "signal": wanted.signal,
        "sent_at__gte": wanted.since,
        "sent_at__lt": wanted.until,
    }
    rows = rows.filter(**{key: value for key, value in conditions.items() if value})
    rows = rows.order_by("-pk")
    if wanted.correlation:
        found = _correlated(rows, wanted.correlation)
    else:
        found = list(rows[: PAGE + 1])
    more, found = len(found) > PAGE, found[:PAGE]
    states = _states(database, [event.pk for event in found])
    lines = [
        EventLine(
            id=event.pk,
            signal=event.signal,
            subject=event.subject,
            sent_at=event.sent_at,
            payload=show(event.signal, event.payload),
            states=states.get(event.pk, {}),
        )
        for event in found
    ]
    if more:
        return EventPage(lines=lines, older=wanted.query(before=found[-1].pk))
    if edge is None:
        return EventPage(lines=lines)
    # The edge itself was not searched: the next page begins with it.
    beyond = uuid.UUID(int=edge.int + 1)
    return EventPage(
        lines=lines, older=wanted.query(before=beyond), searched_to=moment_of(edge)
    )


def _made(database: str, wanted: EventFilter) -> QuerySet[Event]:
    """Return the events whose ids are of the time that is wanted."""
    rows: QuerySet[Event] = Event.objects.using(database)
    if wanted.since is not None:
        rows = rows.filter(pk__gte=id_at(wanted.since - CLOCKS_DIFFER))
    if wanted.until is not None:
        rows = rows.filter(pk__lt=id_at(wanted.until + CLOCKS_DIFFER))
    if wanted.before is not None:
        rows = rows.filter(pk__lt=wanted.before)
    return rows


def _correlated(rows: QuerySet[Event], correlation: str) -> list[Event]:
    """Return those of one correlation id: it may be the id of the first of them."""
    stored = stored_correlation(correlation)
    found = list(rows.filter(correlation=stored)[: PAGE + 1])
    first = id_of(correlation)
    if first is not None and len(found) <= PAGE:
        found += rows.filter(pk=first, correlation=None)
    return found


def _states(
    database: str, ids: Sequence[uuid.UUID]
) -> Mapping[uuid.UUID, dict[str, int]]:
    counted: dict[uuid.UUID, dict[str, int]] = {}
    rows = Delivery.objects.using(database).filter(event_id__in=ids)
    for event_id, state in rows.values_list("event_id", "state"):
        states = counted.setdefault(event_id, {})
        states[state] = states.get(state, 0) + 1
    return counted


def event(database: str, pk: uuid.UUID) -> EventReport | None:
    """Return everything about one event; None if there is none."""
    row = Event.objects.using(database).filter(pk=pk).first()
    if row is None:
        return None
    rows = Delivery.objects.using(database).filter(event_id=pk).order_by("receiver")
    deliveries = list(rows[: MAX_DELIVERIES + 1])
    is_cut, deliveries = len(deliveries) > MAX_DELIVERIES, deliveries[:MAX_DELIVERIES]
    failures = _failures(database, [each.pk for each in deliveries])
    now = timezone.now()
    effects = _effects(database, row)
    return EventReport(
        row=row,
        payload=show(row.signal, row.payload),
        headers=_headers(row),
        deliveries=deliveries,
        deliveries_are_cut=is_cut,
        failures=failures,
        causes=_causes(database, row),
        effects=effects[:MAX_CHAIN],
        effects_are_cut=len(effects) > MAX_CHAIN,
        waterfall=waterfall.waterfall(row.sent_at, deliveries, failures, now),
    )


def _effects(database: str, row: Event) -> list[Event]:
    """Return the first events that its receivers have sent; one more than are shown."""
    sent = Event.objects.using(database).filter(cause_id=row.pk).order_by("pk")
    return list(sent.defer("payload", "headers")[: MAX_CHAIN + 1])


def _headers(row: Event) -> Mapping[str, Any]:
    try:
        return row.header_mapping()
    # Somebody has damaged them; the page shows the rest.
    except Exception:  # noqa: BLE001
        return {"headers": row.headers}


def _failures(
    database: str, ids: Sequence[uuid.UUID]
) -> Mapping[uuid.UUID, list[Attempt]]:
    found: dict[uuid.UUID, list[Attempt]] = {}
    rows = Attempt.objects.using(database).filter(delivery_id__in=ids).order_by("pk")
    for attempt in rows[:1000]:
        found.setdefault(attempt.delivery_id, []).append(attempt)
    return found


def _causes(database: str, row: Event) -> Sequence[Event]:
    """Return the chain of causes, the first one first."""
    chain: list[Event] = []
    cause = row.cause_id
    while cause is not None and len(chain) < MAX_CHAIN:
        found = Event.objects.using(database).filter(pk=cause).first()
        if found is None:
            break
        chain.append(found)
        cause = found.cause_id
    return chain[::-1]
