"""What happens to products that others may react to."""

from __future__ import annotations

from signal_tasks import AsyncSignal

stock_short = AsyncSignal()
"""There was less on the shelf than an order wanted.

Sent in the transaction that took the stock, with ``order`` and ``missing``
(product id -> quantity that could not be taken).
"""
