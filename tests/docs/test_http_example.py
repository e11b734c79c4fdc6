"""The how-to guide's receiver, against a server that answers as real ones do."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from signal_tasks import DeliveryHandle
from signal_tasks.testing import run_pending

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "howto" / "examples"


@dataclass
class Bookkeeping:
    """A service that answers what it is told to, and keeps the keys it was given."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


@pytest.fixture
def bookkeeping(settings: Any) -> Iterator[Bookkeeping]:
    service = Bookkeeping()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            service.keys.append(self.headers["Idempotency-Key"])
            self.send_response(service.status)
            for name, value in service.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        settings.BOOKKEEPING_URL = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever).start()
        yield service
        server.shutdown()


@pytest.fixture
def example(db: None) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(
        "call_http", EXAMPLES / "call_http.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.invoice_paid.disconnect(module.tell_bookkeeping)


def deliver(example: ModuleType) -> DeliveryHandle:
    """Send the signal, and run what is due."""
    example.invoice_paid.send(sender=None, number="2026-17")
    (delivery,) = run_pending()
    return delivery


def test_an_accepted_call_ends_the_delivery(
    example: ModuleType, bookkeeping: Bookkeeping
) -> None:
    delivery = deliver(example)
    assert delivery.state == "succeeded"
    assert bookkeeping.keys == [str(delivery.id)]


def test_a_refusal_is_a_dead_letter_at_once(
    example: ModuleType, bookkeeping: Bookkeeping
) -> None:
    bookkeeping.status = 422
    delivery = deliver(example)
    assert (delivery.state, delivery.reason) == ("dead", "rejected")


def test_a_busy_service_is_asked_again_without_spending_an_attempt(
    example: ModuleType, bookkeeping: Bookkeeping
) -> None:
    bookkeeping.status = 429
    bookkeeping.headers["Retry-After"] = "0"
    delivery = deliver(example)
    assert (delivery.state, delivery.attempts) == ("pending", 0)
    bookkeeping.status = 200
    run_pending()
    assert delivery.refresh().state == "succeeded"
    assert len(set(bookkeeping.keys)) == 1


@pytest.mark.parametrize("status", [500, 503])
def test_a_failing_service_is_tried_again_by_the_policy(
    example: ModuleType, bookkeeping: Bookkeeping, status: int
) -> None:
    bookkeeping.status = status
    delivery = deliver(example)
    assert (delivery.state, delivery.attempts) == ("pending", 1)


def test_a_service_that_is_down_is_tried_again_by_the_policy(
    example: ModuleType, settings: Any
) -> None:
    settings.BOOKKEEPING_URL = "http://127.0.0.1:9/"
    assert deliver(example).state == "pending"
