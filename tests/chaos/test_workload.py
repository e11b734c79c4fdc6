"""The workload of the fault suite: it sends what it is told, and more on request."""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chaos.workload import CLIENTS, Workload


class Server(ThreadingHTTPServer):
    """A web server that remembers the key of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.server.keys += query["key"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_it_ends_when_all_is_sent(server: Server) -> None:
    workload = _started(server)
    _wait_for_the_end(workload)
    assert 10 <= workload.sent < 10 + CLIENTS
    assert workload.left == 0


def test_it_sends_more_although_it_had_ended(server: Server) -> None:
    workload = _started(server)
    _wait_for_the_end(workload)
    workload.extend(10)
    assert not workload.done
    _wait_for_the_end(workload)
    assert 20 <= workload.sent < 20 + CLIENTS


def test_it_sends_more_while_it_is_at_work(server: Server) -> None:
    workload = _started(server)
    workload.extend(10)
    _wait_for_the_end(workload)
    assert 20 <= workload.sent < 20 + CLIENTS


def test_it_uses_no_key_twice(server: Server) -> None:
    workload = _started(server)
    _wait_for_the_end(workload)
    workload.extend(10)
    _wait_for_the_end(workload)
    assert len(server.keys) == len(set(server.keys)) >= 20


def _started(server: Server) -> Workload:
    workload = Workload(server.url, "key", 10, 0.2, "seed")
    workload.start()
    return workload


def _wait_for_the_end(workload: Workload) -> None:
    deadline = time.monotonic() + 30
    while not workload.done:
        assert time.monotonic() < deadline, f"{workload.left} events are left"
        time.sleep(0.01)
