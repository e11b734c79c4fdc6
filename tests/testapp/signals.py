"""Signals that only the tests send."""

from __future__ import annotations

from signal_tasks import AsyncSignal

happened = AsyncSignal()  # heard by an atomic and a non-atomic receiver
slept = AsyncSignal()
crashed = AsyncSignal()
failed = AsyncSignal()
timed = AsyncSignal()
queued = AsyncSignal()
awaited = AsyncSignal()
chained = AsyncSignal()
