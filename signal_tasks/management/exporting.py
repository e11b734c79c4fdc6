"""``manage.py signal_tasks exporter``: serve the metrics alone."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from signal_tasks.telemetry.exporter import server

HELP = "serve the metrics for Prometheus, until SIGTERM"
#: As Prometheus' list of default ports has none for Django, one of its free ones.
PORT = 9808


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, this machine alone",
    )


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        serving = server(options["address"], options["port"])
    except (ImproperlyConfigured, OSError) as error:
        raise CommandError(str(error)) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not here: ``shutdown`` waits for the loop, which this has interrupted.
        signal.signal(
            number, lambda *_: threading.Thread(target=serving.shutdown).start()
        )
    host, port = serving.server_address[:2]
    command.stdout.write(f"metrics on http://{host!s}:{port}/metrics")
    with serving:
        serving.serve_forever()
