"""Send ``settled`` for events whose deliveries have all finished.

# Note [Settling]
Where a receiver of ``settled`` is connected, a send writes an ``UnsettledEvent`` beside
its event. Whoever has finished deliveries looks after the commit, so that the last one
to commit sees that all have finished. It locks the row, looks once more, sends
``settled`` and deletes the row, in one transaction: of any number that look at the same
time, one sends.

A replay writes the row anew, or changes the one that is there, in the transaction that
makes deliveries pending. So it either comes before the lock, and then the event is not
settled, or waits for the one who settles, and then ``settled`` is sent again.

Relays look at what nobody has looked at after a crash, and again at what could not be
sent: ``relay.settling``.

# Note [Failures of one event]
Many events share a transaction, and a project's code is called for each. What it raises
is undone and told for its event alone. If it has lost the transaction, each event is
tried in one of its own, and the one that loses that, too, is told. Only an outbox that
is away by itself ends the look, and tells of no event.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence

from django.db import Error, transaction

from signal_tasks import hooks, signals
from signal_tasks.broker.config import is_eager
from signal_tasks.db.clock import from_now
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.session import DropIfLost, drop
from signal_tasks.db.settling import CHECK_AFTER, delete_unsettled, lock_unsettled
from signal_tasks.exceptions import SignalLoop
from signal_tasks.interrupt import is_stop
from signal_tasks.models import Delivery, Event, UnsettledEvent
from signal_tasks.registry.settled import SettledEvent, settled_signals
from signal_tasks.settling.calling import TransactionLost, call
from signal_tasks.settling.reading import is_given_up, ready, replayed, settled_events


def settle(ids: Iterable[uuid.UUID], *, database: str) -> int:
    """Send ``settled`` for those of the events that have settled: Note [Settling].

    To be called after the commit of what has finished. Return their number. No error
    is raised, but where Celery is eager: relays try again.
    """
    settled = 0
    if not (names := settled_signals.names()):
        return settled
    try:
        with DropIfLost(database):
            for some in ready(sorted(set(ids)), names, database):
                settled += _settle_some(some, database)
    # A worker has done its work, and a relay has more to do. Whatever it is (a database
    # that is away, say), the rows are still there.
    except Exception as error:
        if is_eager():
            raise
        _tell(error, database)
    return settled


def _settle_some(ids: Sequence[uuid.UUID], database: str) -> int:
    """Settle events in one transaction; each in its own if that one is lost.

    Raises what tells of no event: Note [Failures of one event].
    """
    event: SettledEvent | None = None
    error: BaseException
    try:
        return _settle(ids, database)
    except TransactionLost as lost:
        error, event = lost.error, lost.event
        if lost.is_spoilt:
            drop(database)
    except Error as raised:
        error = raised
    is_away = event is None and fault_of(error) is Fault.CONNECTION
    if is_away or is_eager():
        raise error
    if len(ids) > 1:
        return sum(_settle_some([pk], database) for pk in ids)
    _fail(ids[0], error, event, database)
    return 0


def _fail(
    pk: uuid.UUID, error: BaseException, event: SettledEvent | None, database: str
) -> None:
    """Tell of an event that has lost its own transaction; give it up at last."""
    with transaction.atomic(using=database):
        still = settled_events(lock_unsettled([pk], database=database), database)
        over = [each.id for each in still if is_given_up(each)]
        delete_unsettled(over, database=database)
    _tell(error, database, next(iter(still), event), given_up=bool(over))


def _settle(ids: Sequence[uuid.UUID], database: str) -> int:
    """Settle events in one transaction, each in a savepoint; return their number.

    What inline receivers leave to ``on_commit`` is run after it: Note [Hooks].
    """
    done: list[uuid.UUID] = []
    after: list[hooks.Hook] = []
    with transaction.atomic(using=database):
        locked = lock_unsettled(ids, database=database)
        for event in settled_events(locked, database):
            if _pass_on(event):
                done.append(event.id)
            after += hooks.take(f"{event.signal}.settled", database)
        again = replayed(done, database)
        over = [pk for pk in done if pk not in again]
        delete_unsettled(over, database=database)
    errors = hooks.run(after, database)
    if errors and is_eager():
        raise errors[0]
    return len(done)


def _pass_on(event: SettledEvent) -> bool:
    """Send ``settled`` for an event; return True if nobody is to try it again.

    If it fails, nothing of it stands. Raises ``TransactionLost`` if nothing of the
    other events does either.
    """
    settled = settled_signals.find(event.signal)
    if settled is None:
        return False
    try:
        with transaction.atomic(using=event.database):
            _tell_each_after_commit(call(settled, event), event)
    # Inline receivers and hooks of the project: their failure is that of this event,
    # and ``sys.exit()`` in one is no reason to end a relay.
    except BaseException as error:
        if isinstance(error, TransactionLost) or is_eager() or is_stop(error):
            raise
        if transaction.get_rollback(using=event.database):
            raise TransactionLost(event, error, is_spoilt=True) from error
        given_up = isinstance(error, SignalLoop) or is_given_up(event)
        _tell(error, event.database, event, given_up=given_up)
        return given_up
    return True


def _tell_each_after_commit(
    errors: Mapping[str, BaseException], event: SettledEvent
) -> None:
    """Tell of receivers that do not get it; where Celery is eager, raise an error."""

    def tell() -> None:  # a partial has no name, which Django wants for its log
        for receiver, error in errors.items():
            _tell(error, event.database, event, receiver, given_up=True)

    if errors and is_eager():
        raise next(iter(errors.values()))
    if errors:
        transaction.on_commit(tell, using=event.database, robust=True)


def _tell(
    error: BaseException,
    database: str,
    event: SettledEvent | None = None,
    receiver: str = "",
    *,
    given_up: bool = False,
) -> None:
    details = signals.SettlingFailed(
        event_id=None if event is None else event.id,
        signal="" if event is None else event.signal,
        receiver=receiver,
        given_up=given_up,
        database=database,
        error=error,
    )
    signals.settling_failed.send_robust(Event, details=details)


# -- what others do ---------------------------------------------------------------


def unsettle(deliveries: Collection[uuid.UUID], *, database: str) -> None:
    """Have ``settled`` sent again for the events of deliveries that are replayed.

    In the transaction of the replay; see Note [Settling].
    """
    names = settled_signals.names()
    if not names or not deliveries:
        return
    events = Delivery.objects.using(database).filter(pk__in=deliveries)
    found = Event.objects.using(database).filter(
        pk__in=events.values("event_id"), signal__in=names
    )
    again = [
        UnsettledEvent(event_id=pk, signal=signal, check_at=from_now(CHECK_AFTER))
        for pk, signal in found.order_by("pk").values_list("pk", "signal")
    ]
    features = transaction.get_connection(database).features
    UnsettledEvent.objects.using(database).bulk_create(
        again,
        update_conflicts=True,
        update_fields=["check_at", "checks"],
        unique_fields=(
            ["event_id"] if features.supports_update_conflicts_with_target else None
        ),
    )


def settle_of(deliveries: Collection[uuid.UUID], *, database: str) -> None:
    """Settle the events of deliveries that were finished without a worker."""
    if settled_signals.names():
        rows = Delivery.objects.using(database).filter(pk__in=deliveries)
        settle(rows.values_list("event_id", flat=True), database=database)


def settle_all(database: str) -> None:
    """Settle whatever has settled, whenever relays would look: for tests."""
    if names := settled_signals.names():
        rows = UnsettledEvent.objects.using(database).filter(signal__in=names)
        settle(rows.values_list("pk", flat=True), database=database)
