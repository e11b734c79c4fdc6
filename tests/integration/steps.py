"""Steps of tests without a worker: look at what the broker has."""

from __future__ import annotations

from celery import current_app

from tests.servers import RedisServer


def messages(server: RedisServer, queue: str = "tests") -> list[str]:
    """Take the messages out of a queue; return the ids of their deliveries, sorted."""
    found: list[str] = []
    with current_app.connection_for_read(server.url) as link:
        channel = link.default_channel
        while (raw := channel.basic_get(queue, True)) is not None:
            found += raw.decode()[0][0]
    return sorted(found)
