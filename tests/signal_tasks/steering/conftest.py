"""A relay and a broker with empty queues."""

from __future__ import annotations

from tests.signal_tasks.relay.conftest import relay

__all__ = ["relay"]
