"""The servers that the tests start: those with which the shop and the fault suite run.

An import of anything in ``shop`` makes the shop's Celery application the current one.
The library's tests have an application of their own, which stays the current one here.
"""

from __future__ import annotations

from celery.app import app_or_default

current = app_or_default()

from chaos.servers import MariaServer, StandbyServer, promote  # noqa: E402
from shop.embedded import PostgresServer, RedisServer  # noqa: E402

current.set_current()

__all__ = ["MariaServer", "PostgresServer", "RedisServer", "StandbyServer", "promote"]
