"""What happens to orders that others may react to."""

from __future__ import annotations

from signal_tasks import AsyncSignal

order_confirmed = AsyncSignal()
"""The customer has confirmed; sent once per order, with the order as its sender."""

order_back_ordered = AsyncSignal()
"""Some of a confirmed order must wait for new stock; sent once per order."""
