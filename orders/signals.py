"""What happens to orders that others may react to: each once per order, as its sender."""

from __future__ import annotations

from signal_tasks import AsyncSignal

order_confirmed = AsyncSignal()
"""The customer has confirmed."""

order_back_ordered = AsyncSignal()
"""Some of a confirmed order must wait for new stock."""

back_order_served = AsyncSignal()
"""All that an order waited for has been taken from stock."""

order_cancelled = AsyncSignal()
"""The order is not wanted any more; what it took goes back."""
