"""What happens to products that others may react to."""

from __future__ import annotations

from signal_tasks import AsyncSignal

stock_short = AsyncSignal()
"""There was less on the shelf than an order wanted.

Sent in the transaction that took the stock, with ``order`` and ``missing``
(product id -> quantity that could not be taken).
"""

stock_arrived = AsyncSignal()
"""There is more of a ``product``: it arrived, or an order gave it back.

Sent in the transaction that put it on the shelf, with the product as its sender.
"""
