"""The signals of this app."""

from signal_tasks import AsyncSignal

order_confirmed = AsyncSignal()
