"""Plain Django signals that the engine sends about its own work.

They are sent with ``send_robust`` in the process, and for the database ones in the
transaction, where the thing happens; ``telemetry`` is the first to listen.
"""

from __future__ import annotations

from django.dispatch import Signal

sending = Signal()
"""An AsyncSignal (the sender) is being sent: ``origin``, ``kwargs``."""

attempt_ended = Signal()
"""An attempt ended: ``outcome``, a ``signal_tasks.attempts.Outcome``."""

lease_lost = Signal()
"""A worker found that it no longer holds a delivery: ``delivery_id``, ``receiver``."""

handed_back = Signal()
"""A worker hands deliveries back without an attempt: ``receiver``, ``count``."""

broker_failed = Signal()
"""The broker did not take messages in time: ``error``."""

relay_passed = Signal()
"""The relay passed over a database: ``database``, ``passage``."""

relay_failed = Signal()
"""A pass of the relay failed: ``database``, ``error``."""
