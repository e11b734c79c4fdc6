"""Names that were given on the command line: known, or an error with suggestions.

A name is known to the code of this process or to the rows of an outbox. The rows are
asked only for what the code does not know, as they have to be read all for it.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db.models import QuerySet

from signal_tasks import operations
from signal_tasks.audit import VERBS
from signal_tasks.broker.config import queue_of
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import AuditEntry, Delivery, Event, FailureGroup, Worker
from signal_tasks.registry.registry import registry
from signal_tasks.selection import Selection

#: Names that an error suggests, and how similar they have to be.
MAX_SUGGESTIONS = 3
SIMILARITY = 0.5
#: Rows that are read to suggest some of them.
MAX_ROWS = 1000
#: Ids that one statement looks for, and that an error names.
BATCH = 500
MAX_IDS = 5


def check(selection: Selection) -> None:
    """Refuse names and ids that neither the code nor an outbox knows."""
    if selection.receiver is not None:
        check_receiver(selection.receiver)
    if selection.signal is not None:
        check_signal(selection.signal)
    if selection.fingerprint is not None:
        check_group(selection.fingerprint)
    if selection.subject is not None:
        check_subject(selection.subject)
    check_ids(selection.ids)


def check_receiver(name: str) -> None:
    """Refuse the name of no receiver."""
    known = set(registry.known_names())
    rows = [Delivery.objects.using(each) for each in outbox_aliases()]
    if name not in known and not _has(rows, receiver=name):
        raise _unknown("receiver", name, known | _values(rows, "receiver"))


def check_signal(name: str) -> None:
    """Refuse the name of no signal."""
    known = {*registry.signals(), *operations.describe_signals()}
    rows = [Event.objects.using(each) for each in outbox_aliases()]
    if name not in known and not _has(rows, signal=name):
        raise _unknown("signal", name, known | _values(rows, "signal"))


def check_queue(name: str) -> None:
    """Refuse the name of a queue that no receiver uses and no worker consumes."""
    queues = {queue_of(receiver) for receiver in registry.receivers()}
    known = {queue for queue in queues if queue is not None} | _consumed_queues()
    if name not in known:
        raise _unknown("queue", name, known)


def check_target(target: str) -> None:
    """Refuse ``kind:NAME`` of a name that is not known; leave anything else."""
    kind, _, name = target.partition(":")
    checks = {
        "receiver": check_receiver,
        "signal": check_signal,
        "queue": check_queue,
    }
    if name and kind in checks:
        checks[kind](name)


def check_group(fingerprint: str) -> None:
    """Refuse the fingerprint of no failure group."""
    rows = [FailureGroup.objects.using(each) for each in outbox_aliases()]
    if not _has(rows, pk=fingerprint):
        raise _unknown("failure group", fingerprint, _values(rows, "fingerprint"))


def check_act(verb: str) -> None:
    """Refuse what is no verb of an operator's act; the trail may have more of them."""
    rows = [AuditEntry.objects.using(each) for each in outbox_aliases()]
    if verb not in VERBS and not _has(rows, verb=verb):
        raise _unknown("act", verb, {*VERBS} | _values(rows, "verb"))


def check_subject(subject: str) -> None:
    """Refuse a subject that no event has."""
    model, colon, pk = subject.partition(":")
    if not colon:
        raise CommandError(f"{subject!r} is no subject; write app.model:pk.")
    rows = [Event.objects.using(each) for each in outbox_aliases()]
    if _has(rows, subject=subject):
        return
    known = _values(
        [each.filter(subject__startswith=f"{model}:") for each in rows], "subject"
    )
    labels = {f"{each._meta.label_lower}:{pk}" for each in apps.get_models()}
    raise _unknown("event with the subject", subject, known or labels - {subject})


def check_ids(ids: Collection[uuid.UUID]) -> None:
    """Refuse ids that are not those of deliveries."""
    missing = sorted(set(ids) - set(_existing(list(ids))))
    if not missing:
        return
    shown = ", ".join(map(str, missing[:MAX_IDS]))
    more = f" and {len(missing) - MAX_IDS} more" if len(missing) > MAX_IDS else ""
    raise CommandError(f"There is no delivery {shown}{more}.{_of_events(missing)}")


def _existing(ids: list[uuid.UUID]) -> Iterator[uuid.UUID]:
    for database in outbox_aliases():
        rows = Delivery.objects.using(database)
        for start in range(0, len(ids), BATCH):
            found = rows.filter(pk__in=ids[start : start + BATCH])
            yield from found.values_list("pk", flat=True)


def _of_events(ids: list[uuid.UUID]) -> str:
    """Return a hint if somebody has given ids of events."""
    for database in outbox_aliases():
        rows = Delivery.objects.using(database).filter(event__in=ids[:MAX_IDS])
        found = [str(pk) for pk in rows.values_list("pk", flat=True)[:MAX_IDS]]
        if found:
            return f" It is an event, with the deliveries {', '.join(found)}."
    return ""


def _consumed_queues() -> set[str]:
    lines = _values([Worker.objects.using(each) for each in outbox_aliases()], "queues")
    return {name for each in lines for name in each.splitlines()}


def _has(rows: Iterable[QuerySet[Any]], **wanted: str) -> bool:
    return any(each.filter(**wanted).exists() for each in rows)


def _values(rows: Iterable[QuerySet[Any]], field: str) -> set[str]:
    """Return values of a field: all, if they are not very many."""
    found = (each.order_by().values_list(field, flat=True).distinct() for each in rows)
    return {value for each in found for value in each[:MAX_ROWS]}


def _unknown(kind: str, name: str, known: Collection[str]) -> CommandError:
    close = difflib.get_close_matches(
        name, sorted(known), n=MAX_SUGGESTIONS, cutoff=SIMILARITY
    )
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return CommandError(f"There is no {kind} {name}.{hint}")
