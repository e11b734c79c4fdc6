"""Check after an incident: all effects exactly once, nothing ran that must not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chaos.incident.incident import ADA, BOB, BOOKING, MAIL, Incident
from chaos.models import Effect
from signal_tasks import health


def violations(incident: Incident) -> Iterator[str]:
    """Yield a sentence for each promise that was broken."""
    yield from _effects(incident)
    yield from _runs(incident)
    yield from _counts(incident)
    yield from _trail(incident)


def _effects(incident: Incident) -> Iterator[str]:
    numbers = incident.numbers
    mails = Counter(record.facts["key"] for record in incident.records("mail"))
    wanted = Counter(f"mail-{n}" for n in range(numbers.mails + numbers.late))
    booked = Counter(Effect.objects.values_list("key", flat=True))
    bookings = Counter(f"bug-{n}" for n in range(numbers.bugs))
    for name, seen, expected in (
        ("mail", mails, wanted),
        ("booking", booked, bookings),
    ):
        if seen != expected:
            missing, more = expected - seen, seen - expected
            yield f"{name}: {missing.total()} missing, {more.total()} too many"


def _runs(incident: Incident) -> Iterator[str]:
    moments = incident.moments
    while_paused = [
        record
        for record in incident.records("mail-run")
        if moments["paused"] < record.at < moments["resumed"]
    ]
    if while_paused:
        yield f"{len(while_paused)} mails ran while they were paused"
    others = [
        record.facts["key"]
        for record in incident.records("booking-run")
        if record.at > moments["replayed"] and record.facts["cause"] != "bug"
    ]
    if others:
        yield f"{len(others)} bookings of other causes ran again"


def _counts(incident: Incident) -> Iterator[str]:
    numbers = incident.numbers
    report = health()
    expected = {
        MAIL: {"succeeded": numbers.mails + numbers.late},
        BOOKING: {
            "succeeded": numbers.bugs,
            "discarded": numbers.departed,
            "dead": numbers.unclear,
        },
    }
    for receiver, states in expected.items():
        counts = {k: n for k, n in report["receivers"][receiver].items() if n}
        if counts != states:
            yield f"{receiver}: {counts}, not {states}"
    for name, each in incident.operations.items():
        gone = each["done"] + each["failed"] + each["skipped"]
        if gone != each["total"]:
            yield f"the operation {name} counts {gone} of {each['total']}"


def _trail(incident: Incident) -> Iterator[str]:
    entries = incident.steps.shell.json("log")
    seen = [(entry["verb"], entry["by"]) for entry in entries[::-1]]
    ada, bob = ADA[1], BOB[1]
    expected = [
        ("pause", ada),
        ("replay", bob),
        ("resume", bob),
        ("replay", bob),
        ("discard", bob),
        ("resume", ada),
        ("replay", ada),
        ("annotate", bob),
        ("acknowledge", ada),
    ]
    if seen != expected:
        yield f"the audit trail is {seen}"
