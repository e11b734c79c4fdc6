"""Replay, discard and backfill: each opens an operation, which relays work off."""

from __future__ import annotations

import difflib
from typing import Any

from django.dispatch import Signal

from signal_tasks import audit
from signal_tasks.operations.handle import Operation
from signal_tasks.operations.plan import Kind, Plan, open_operation
from signal_tasks.registry.naming import ReceiverFunction
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.relay import backfilling
from signal_tasks.selection import Selection, Since


def replay(  # noqa: PLR0913 - one keyword per option
    selection: Selection,
    *,
    canary: bool | None = None,
    rate: str | int | float | None = None,
    reason: str = "",
    by: Any = None,
    dry_run: bool = False,
    everything: bool = False,
) -> Operation:
    """Have dead deliveries run again, with all their attempts.

    Relays do it, in batches; this only writes the operation, in the caller's
    transaction or in one for each outbox. The same operation that is still open is
    returned in place of a second one.

    Args:
        selection: which deliveries; those that finish after this call are not meant.
        canary: go in steps of 1, 2, 5, 20, 100, 500 deliveries and so on, each only
            after 95 % of the last one have succeeded; None: if there are more than 100.
        rate: deliveries a second, or text such as ``"100/m"``; None: as fast as
            relays can.
        reason: why; for the audit trail.
        by: who; a user, or a name.
        dry_run: write nothing; only count, in ``total``.
        everything: the selection may be one that restricts nothing.

    Raises:
        TypeError: the selection is no ``Selection``.
        ValueError: the selection restricts nothing, or the rate is none.
        OperationalError: the caller's transaction cannot see the same operation, which
            was opened since it began: only under REPEATABLE READ or higher.
    """
    _refuse_everything(selection, everything=everything)
    plan = Plan(
        kind=Kind.REPLAY,
        selection=selection,
        canary=canary,
        rate=rate,
        reason=reason,
        by=audit.name_of(by),
    )
    return open_operation(plan, selection.replayable, dry_run=dry_run)


def discard(
    selection: Selection,
    *,
    rate: str | int | float | None = None,
    reason: str = "",
    by: Any = None,
    dry_run: bool = False,
    everything: bool = False,
) -> Operation:
    """Finish pending and dead deliveries without running them.

    As ``replay``, with the same arguments, but never in the steps of a canary. A
    pending delivery that was sent after this call is not meant.

    Raises:
        TypeError: the selection is no ``Selection``.
        ValueError: the selection restricts nothing, or the rate is none.
    """
    _refuse_everything(selection, everything=everything)
    plan = Plan(
        kind=Kind.DISCARD,
        selection=selection,
        canary=False,
        rate=rate,
        reason=reason,
        by=audit.name_of(by),
    )
    return open_operation(plan, selection.discardable, dry_run=dry_run)


def backfill(  # noqa: PLR0913 - one keyword per option
    receiver: str | ReceiverFunction,
    *,
    since: Since,
    until: Since | None = None,
    signal: str | Signal | None = None,
    canary: bool | None = None,
    rate: str | int | float | None = None,
    reason: str = "",
    by: Any = None,
    dry_run: bool = False,
) -> Operation:
    """Deliver past events to a receiver that was connected after they were sent.

    As ``replay``; each event of its signals that it has no delivery of gets one, if
    its connection hears the sender and ``when=`` accepts the keywords. Only events
    that had another durable receiver were stored.

    Args:
        receiver: the function, or its name; it has to be connected in this process.
        since: an aware datetime, or a timedelta for so long ago.
        until: the same; None: until now.
        signal: only events of this signal, or of the signal of this name.
        canary: as for ``replay``.
        rate: as for ``replay``.
        reason: as for ``replay``.
        by: as for ``replay``.
        dry_run: write nothing; only count the events, in ``total``, whatever their
            senders and keywords.

    Raises:
        ValueError: the receiver is not known here, is ordered, or is not connected to
            the signal; what was sent so long ago has been pruned; the rate is none.
    """
    found = _receiver(receiver)
    name = signal if isinstance(signal, str) or signal is None else _name_of(signal)
    selection = Selection(receiver=found.name, signal=name, since=since, until=until)
    backfilling.check(found, selection)
    plan = Plan(
        kind=Kind.BACKFILL,
        selection=selection,
        canary=canary,
        rate=rate,
        reason=reason,
        by=audit.name_of(by),
    )
    fixed = selection.fixed()
    return open_operation(
        plan, lambda database: backfilling.events(fixed, database), dry_run=dry_run
    )


def _refuse_everything(selection: object, *, everything: bool) -> None:
    if not isinstance(selection, Selection):
        wanted = "give a Selection, such as Selection(ids=[delivery_id])"
        raise TypeError(f"selection is {selection!r}; {wanted}")
    if selection.is_empty and not everything:
        raise ValueError(
            "This selection restricts nothing: it would change the deliveries of all "
            "receivers. Restrict it, or pass everything=True."
        )


def _receiver(given: str | ReceiverFunction) -> Receiver:
    if isinstance(given, str):
        found = registry.receiver(given)
    else:
        same = (each for each in registry.receivers() if each.function() == given)
        found = next(same, None)
    if found is None:
        close = difflib.get_close_matches(str(given), registry.known_names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{given!r} is no durable receiver of this process.{hint}")
    return found


def _name_of(signal: Signal) -> str:
    names = registry.names_of(signal)
    if not names:
        raise ValueError(f"{signal!r} has no durable receivers in this process.")
    return names[0]
