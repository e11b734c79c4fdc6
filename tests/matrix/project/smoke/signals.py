"""The signal of the trial."""

from __future__ import annotations

from signal_tasks import AsyncSignal

confirmed = AsyncSignal()
