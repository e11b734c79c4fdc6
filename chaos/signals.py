"""The signals that the fault suite sends."""

from __future__ import annotations

from signal_tasks import AsyncSignal

#: The workload: heard by three receivers, each with an effect to count.
happened = AsyncSignal()
#: Heard by an atomic and by a non-atomic receiver that do as they are told.
ordered = AsyncSignal()
#: Heard by two receivers that change the same two accounts, in opposite order.
fought_over = AsyncSignal()
#: Heard by a receiver that may run for a second, and no longer.
timed = AsyncSignal()
#: Heard by a receiver that only processes with newer code know.
novel = AsyncSignal()
#: Heard by a receiver whose name changed with newer code.
renamed = AsyncSignal()
#: Heard by one receiver that succeeds, for what is measured by the hundred thousand.
counted = AsyncSignal()
#: Heard by a receiver that never succeeds.
doomed = AsyncSignal()
