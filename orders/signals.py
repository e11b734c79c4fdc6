"""Signals of the orders app: each is sent once per order, with the order as sender."""

from __future__ import annotations

from signal_tasks import AsyncSignal

order_confirmed = AsyncSignal()
"""The customer has confirmed."""

order_back_ordered = AsyncSignal()
"""Some of a confirmed order must wait for new stock."""

back_order_served = AsyncSignal()
"""An order waits for nothing any more: all of it was taken from stock."""

order_cancelled = AsyncSignal()
"""An order was cancelled; its stock is to be returned."""
