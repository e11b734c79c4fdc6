"""Signals of the products app."""

from __future__ import annotations

from signal_tasks import AsyncSignal

stock_short = AsyncSignal()
"""An order wanted more than there was in stock.

Sent in the transaction that took the stock, with ``order`` and ``missing``
(product id -> quantity that could not be taken).
"""

stock_arrived = AsyncSignal()
"""More of a ``product`` is in stock: it arrived, or an order returned it.

Sent in the transaction that added it, with the product as sender.
"""
