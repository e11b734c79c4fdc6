"""Signals of the customers app."""

from __future__ import annotations

from signal_tasks import AsyncSignal

proof_requested = AsyncSignal()
"""Somebody typed an email address, and is to prove that it is theirs.

Sent with ``purpose``, ``email``, and ``user_id`` or ``visitor``; without a sender. It
carries no link: the receiver signs one when it sends the email.
"""

user_registered = AsyncSignal()
"""Somebody has registered.

Sent in the transaction that creates the account, with the user model as sender and
``user``.
"""

user_subscribed = AsyncSignal()
"""An address was subscribed to the newsletter; sent with ``user_email``.

The sender is the ``Subscriber`` model. Nothing is sent if it was subscribed already.
"""

user_unsubscribed = AsyncSignal()
"""An address was unsubscribed from the newsletter; sent as above."""
