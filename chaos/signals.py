"""The signals that the fault suite sends."""

from __future__ import annotations

from signal_tasks import AsyncSignal

#: The workload: five receivers, each with an effect to count; two of them are ordered.
workload_event = AsyncSignal()
#: An atomic and a non-atomic receiver, which inject the fault that the event names.
instructed = AsyncSignal()
#: Two receivers that change the same two accounts, in opposite order.
contended = AsyncSignal()
#: A receiver with a time limit of one second.
time_limited = AsyncSignal()
#: A receiver that only newer code has.
novel = AsyncSignal()
#: A receiver that newer code has under another name.
renamed = AsyncSignal()
#: One receiver that succeeds, for measurements with a great many events.
counted = AsyncSignal()
#: Two receivers that succeed; operators replay the one, and backfill the other.
operated = AsyncSignal()
#: A receiver that never succeeds.
doomed = AsyncSignal()
#: A receiver that coalesces: of the numbers of a line, it is to see the newest.
coalesced = AsyncSignal()
#: A receiver with a breaker, whose service is away for a moment.
guarded = AsyncSignal()
#: A receiver with a rate that is less than what is sent at once.
limited = AsyncSignal()
#: Two receivers that succeed, and one of what is sent when both have finished.
concluded = AsyncSignal()
#: An ordered receiver, which fails until it is permitted to succeed.
lined = AsyncSignal()
