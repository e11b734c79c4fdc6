"""What happens to people that others may react to."""

from __future__ import annotations

from signal_tasks import AsyncSignal

user_registered = AsyncSignal()
"""Somebody made an account for themselves.

Sent in the transaction that makes the account, with the user model as its sender and
``user``.
"""

user_subscribed = AsyncSignal()
"""An address gets the newsletter from now on; sent with ``user_email``.

Its sender is the ``Subscriber`` model. An address that got it already sends nothing.
"""

user_unsubscribed = AsyncSignal()
"""An address gets the newsletter no more; sent with ``user_email``, as above."""
