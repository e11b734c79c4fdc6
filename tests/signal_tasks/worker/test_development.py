"""``manage.py signal_tasks dev`` starts what it can, and else says why not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError

from signal_tasks.worker import development
from tests.signal_tasks.command import command


def test_it_is_for_development_only() -> None:
    with pytest.raises(CommandError, match="DEBUG is off"):
        command("dev")


@pytest.mark.parametrize(
    "url", ["amqp://127.0.0.1", "redis://redis.example.com/0", "memory://", None]
)
def test_it_starts_no_broker_of_another_kind_or_machine(
    settings: Any, url: str | None
) -> None:
    settings.DEBUG = True
    settings.CELERY_BROKER_URL = url
    with pytest.raises(CommandError, match="the broker of this project is another one"):
        command("dev")


@pytest.fixture
def port() -> Iterator[int]:
    """Return a port on which something answers as Redis does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(16)
                client.sendall(b"+PONG\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def test_a_redis_that_answers_is_left_as_it_is(port: int) -> None:
    with development.redis(port) as told:
        assert told == f"Redis answers on port {port} already"


def test_without_a_program_it_says_where_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (
        pytest.raises(development.NotPossible, match="extra for development"),
        development.redis(1),
    ):
        pytest.fail("it cannot have started")


def test_a_port_that_somebody_else_has_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with (
            pytest.raises(development.NotPossible, match="Is it in use"),
            development.redis(number),
        ):
            pytest.fail("it cannot have started")
