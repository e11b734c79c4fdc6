"""What other code may react to."""

from signal_tasks import AsyncSignal

order_confirmed = AsyncSignal()
