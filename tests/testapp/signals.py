"""Signals that only the tests send."""

from __future__ import annotations

from signal_tasks import AsyncSignal

happened = AsyncSignal()  # heard by an atomic and a non-atomic receiver
inside = AsyncSignal()  # heard by an atomic receiver that does the task of the event
outside = AsyncSignal()  # heard by a non-atomic one
failed = AsyncSignal()
timed = AsyncSignal()
aged = AsyncSignal()
limited = AsyncSignal()
noted = AsyncSignal()
queued = AsyncSignal()
awaited = AsyncSignal()
async_inside = AsyncSignal()  # heard by an atomic async receiver
bridged = AsyncSignal()  # heard by a sync receiver that calls async code
chained = AsyncSignal()
met = AsyncSignal()  # heard by two receivers that lock rows in the given order
paced = AsyncSignal()  # heard by a receiver with a rate for all workers together
narrow = AsyncSignal()  # by one with places for two
mailed = AsyncSignal()  # by one with a breaker
novel = AsyncSignal()  # heard only where TEST_KNOWS_NOVEL is set
bundled_inside = AsyncSignal()  # heard by an atomic batch receiver
bundled_outside = AsyncSignal()  # by one that is not atomic
bundled_briefly = AsyncSignal()  # by one with a time limit
typed = AsyncSignal()  # heard by a receiver that coalesces
#: Heard by an ordered receiver, atomic or not, that does the task of the event; the key is
#: the line that it names.
lined_inside = AsyncSignal(key=lambda sender, line, **kwargs: line)
lined_outside = AsyncSignal(key=lambda sender, line, **kwargs: line)
