"""Serve the metrics alone, for projects whose web servers should not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.db import connections

from signal_tasks.conf import settings
from signal_tasks.telemetry.metrics import has_token, render

#: A client that says nothing for so long is left (seconds).
TIMEOUT = 10


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT

    def log_message(self, *_: Any) -> None:
        """Log nothing: a scrape comes every few seconds."""


def server(address: str, port: int) -> WSGIServer:
    """Return a server of ``/metrics`` that listens; ``serve_forever()`` answers.

    Port 0 takes a free one.

    Raises:
        ImproperlyConfigured: the extra ``metrics`` is not installed.
    """
    render()
    connections.close_all()
    return make_server(address, port, _answer, _Server, _Handler)


def _answer(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    if environ["PATH_INFO"] not in ("/", "/metrics"):
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Not found\n"]
    if settings().METRICS_TOKEN and not has_token(
        environ.get("HTTP_AUTHORIZATION", "")
    ):
        headers = [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")]
        start_response("401 Unauthorized", headers)
        return [b"Unauthorized\n"]
    try:
        text, content_type = render(environ.get("HTTP_ACCEPT", ""))
    finally:
        connections.close_all()  # those of this thread, which ends
    start_response("200 OK", [("Content-Type", content_type)])
    return [text]
