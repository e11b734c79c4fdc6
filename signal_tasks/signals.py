"""Plain Django signals that the engine sends about its own work.

They are sent with ``send_robust`` in the process, and for the database ones in the
transaction, where the thing happens; ``telemetry`` is the first to listen.
"""

from __future__ import annotations

from django.dispatch import Signal

#: An AsyncSignal (the sender) is being sent: ``origin``, ``kwargs``.
sending = Signal()

#: An attempt ended: ``outcome``, a ``signal_tasks.attempts.Outcome``.
attempt_ended = Signal()

#: A worker found that it no longer holds a delivery: ``delivery_id``, ``receiver``.
lease_lost = Signal()

#: A worker hands deliveries back without an attempt: ``receiver``, ``count``.
handed_back = Signal()

#: The broker did not take messages in time: ``error``.
broker_failed = Signal()

#: The relay passed over a database: ``database``, ``passage``.
relay_passed = Signal()

#: A pass of the relay failed: ``database``, ``error``.
relay_failed = Signal()
