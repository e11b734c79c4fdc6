"""The verb that serves the metrics alone."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.telemetry.exporter import server

#: A port that Prometheus' list of default ports leaves free.
PORT = 9808


def _place(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, this machine alone",
    )


@verb("exporter", "serve the metrics for Prometheus, until SIGTERM", _place)
def exporter(out: Output, given: Given) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        serving = server(given["address"], given["port"])
    except (ImproperlyConfigured, OSError) as error:
        raise CommandError(str(error)) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not here: ``shutdown`` waits for the loop, which this has interrupted.
        signal.signal(
            number, lambda *_: threading.Thread(target=serving.shutdown).start()
        )
    host, port = serving.server_address[:2]
    out.say(f"metrics on http://{host!s}:{port}/metrics")
    with serving:
        serving.serve_forever()


VERBS = (exporter,)
