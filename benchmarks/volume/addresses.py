"""The addresses that are measured: each page, with the filters that people use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import URLPattern, reverse
from django.utils import timezone

from signal_tasks.dashboard.urls import urlpatterns
from signal_tasks.models import (
    Attempt,
    Delivery,
    FailureGroup,
    HeldDelivery,
    Operation,
    Turn,
)

NAME = "shop.receivers.react_{:03}"
SIGNAL = "shop.signals.signal_{:02}"
#: Receivers: with many of everything, with many that succeeded and none dead, with few
#: deliveries, unknown to the code, with an open breaker.
MANY, GOOD, RARE, GONE, BROKEN = (
    NAME.format(0),
    NAME.format(3),
    NAME.format(196),
    "shop.gone.react_30",
    NAME.format(12),
)
Queries = tuple[Mapping[str, object], ...]
PLAIN: Queries = ({},)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One address, and the words for it in the table."""

    title: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows that pages are about."""

    delivery: Delivery
    held: Delivery
    ordered: Delivery
    succeeded: Delivery
    group: FailureGroup
    small_group: FailureGroup
    operation: Operation


def examples() -> Examples:
    """Look some up."""
    groups = FailureGroup.objects.order_by("-failures")
    group, small_group = groups[0], groups.reverse()[0]
    dead = Attempt.objects.filter(fingerprint=group.pk, consequence="dead")
    rows = Delivery.objects.select_related("event")
    return Examples(
        delivery=rows.get(pk=dead[len(dead[:1000]) // 2].delivery_id),
        held=rows.get(pk=HeldDelivery.objects.all()[0].pk),
        ordered=rows.get(pk=Turn.objects.order_by("-position")[0].pk),
        succeeded=rows.filter(receiver=GOOD, state="succeeded")[0],
        group=group,
        small_group=small_group,
        operation=Operation.objects.all()[0],
    )


def dashboard(some: Examples) -> Iterator[Page]:
    """Yield the addresses of each page of the dashboard.

    Raises:
        LookupError: a page has none here.
    """
    known = {**_lists(some), **_details(some)}
    for pattern in _pages():
        if pattern.name not in known:
            raise LookupError(f"add the page {pattern.name!r} to {__name__}")
        for args, query in known[pattern.name]:
            path = reverse(f"signal_tasks:{pattern.name}", args=args)
            about = " ".join([*map(str, args), _words(query)]).strip()
            yield Page(
                title=f"dashboard: {pattern.name} {about}".rstrip(),
                address=f"{path}?{urlencode(query)}",
            )


def _pages() -> Iterator[URLPattern]:
    """Yield the patterns that answer to GET."""
    for pattern in urlpatterns:
        if pattern.name not in POSTED:
            yield pattern


#: What only forms are sent to.
POSTED = {"skip", "acknowledge", "note", "cancel", "resume", "control"}
Asked = list[tuple[tuple[object, ...], Mapping[str, object]]]


def _lists(some: Examples) -> dict[str | None, Asked]:
    now = timezone.now()
    old = (now - timedelta(days=20)).isoformat()
    a_day_later = (now - timedelta(days=19)).isoformat()
    queries: dict[str | None, Queries] = {
        "overview": ({}, {"span": "24h"}, {"span": "7d"}),
        "events": (
            {},
            {"signal": SIGNAL.format(0)},
            {"signal": SIGNAL.format(49)},
            {"signal": "no.such"},
            {"signal": SIGNAL.format(49), "until": old},
            {"subject": some.delivery.event.subject},
            {"subject": "shop.order:0"},
            {"since": old, "until": a_day_later},
            {"since": old},
        ),
        "blocked": ({}, {"receiver": NAME.format(1)}, {"receiver": "no.such"}),
        "groups": ({}, {"every": 1}, {"receiver": MANY}, {"receiver": GOOD}),
        "operations": PLAIN,
        "new_operation": tuple(_selections(some)),
        "receivers": ({}, {"search": "react_003"}),
        "workers": PLAIN,
        "log": ({}, {"by": "person 3"}, {"by": "nobody"}, {"verb": "pause"}),
    }
    return {name: [((), query) for query in of] for name, of in queries.items()}


def _selections(some: Examples) -> Iterator[Mapping[str, object]]:
    subject = some.delivery.event.subject
    for chosen in (
        {"group": some.group.pk},
        {"receiver": MANY, "state": "dead"},
        {"receiver": MANY},
        {"receiver": GOOD, "state": "dead"},
        {"receiver": "no.such", "state": "dead"},
        {"signal": SIGNAL.format(0), "state": "dead"},
        {"subject": subject},
        {"reason": "rejected"},
        {"receiver": MANY, "state": "dead", "error": "unexpectedly"},
        {"receiver": MANY, "state": "dead", "error": "no such text"},
        {"state": "dead", "since": "1d"},
    ):
        yield {"verb": "replay", **chosen}
    for chosen in ({"receiver": GONE}, {"receiver": MANY}, {"receiver": GOOD}):
        yield {"verb": "discard", **chosen}
    yield {"verb": "backfill", "receiver": GOOD, "since": "1d"}


def _details(some: Examples) -> dict[str | None, Asked]:
    deliveries = (some.delivery, some.held, some.ordered, some.succeeded)
    names = (MANY, GOOD, RARE, GONE, BROKEN, "no.such")
    return {
        "event": [((each.event_id,), {}) for each in deliveries[:2]],
        "delivery": [((each.pk,), {}) for each in deliveries],
        "group": [((each.pk,), {}) for each in (some.group, some.small_group)],
        "operation": [((some.operation.pk,), {})],
        "receiver": [((name,), {}) for name in names] + [((MANY,), {"span": "7d"})],
    }


def _words(query: Mapping[str, object]) -> str:
    return " ".join(f"{name}={str(value)[:40]}" for name, value in query.items())


# -- the admin ----------------------------------------------------------------------


def admin(some: Examples) -> Iterator[Page]:
    """Yield the lists of each model in the admin, by what they offer, and its pages."""
    for model, queries in _admin_lists(some).items():
        listed = reverse(f"admin:signal_tasks_{model}_changelist")
        for query in queries:
            title = f"admin: {model} {_words(query)}".rstrip()
            yield Page(title=title, address=f"{listed}?{urlencode(query)}")
    for row in (
        some.delivery,
        some.held,
        some.ordered,
        some.delivery.event,
        some.group,
        some.operation,
    ):
        name = type(row)._meta.model_name
        path = reverse(f"admin:signal_tasks_{name}_change", args=[row.pk])
        yield Page(title=f"admin: one {name}", address=path)


def _admin_lists(some: Examples) -> dict[str, Queries]:
    states = ("pending", "running", "succeeded", "dead", "discarded")
    return {
        "delivery": (
            {},
            *({"state__exact": state} for state in states),
            {"reason__exact": "exhausted"},
            {"reason__exact": "undecodable"},
            {"orphaned__exact": 1},
            *({"receiver": name} for name in (MANY, GOOD, RARE, GONE, "no.such")),
            {"receiver": GOOD, "state__exact": "dead"},
            {"receiver": RARE, "state__exact": "dead"},
            {"receiver": MANY, "state__exact": "pending"},
            {"group": some.group.pk},
            {"group": some.small_group.pk, "receiver": RARE},
            {"q": str(some.delivery.pk)},
            {"q": str(some.delivery.event_id)},
            {"q": RARE},
            {"q": "anything"},
            {"q": some.delivery.event.subject},
            {"q": "shop.order:0"},
            {"p": 150},
            {"o": "1"},
            {"o": "-4"},
            {"o": "4"},
            {"o": "2"},
        ),
        "event": (
            {},
            {"q": SIGNAL.format(0)},
            {"q": SIGNAL.format(49)},
            {"q": "anything"},
            {"q": some.delivery.event.subject},
            {"o": "1"},
            {"o": "3"},
        ),
        "failuregroup": ({}, {"receiver": MANY}, {"q": "anything"}),
        "operation": ({}, {"state__exact": "done"}, {"q": "ada"}),
        "auditentry": ({}, {"verb": "pause"}, {"q": "nobody"}),
        "control": PLAIN,
        "worker": PLAIN,
    }


# -- what is asked without a page ---------------------------------------------------


def calls() -> Mapping[str, Callable[[], Any]]:
    """Return what monitors ask: health and metrics, and what the command prints."""
    from signal_tasks import health, operations
    from signal_tasks.telemetry.families import families

    return {
        "health(), status": health,
        "metrics": lambda: list(families()),
        "dead --group": operations.failure_groups,
        f"dead --group --receiver {MANY}": lambda: operations.failure_groups(
            receiver=MANY
        ),
        "blocked": operations.blocked_keys,
    }
