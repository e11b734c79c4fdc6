"""``python -m chaos.request_loop``: a web process that times its transactions.

Each line of its input is a number of transactions. It answers with a line of JSON:
their durations in seconds, and how often each of its threads has used a socket of the
broker so far. When its input ends it exits, as a web process does.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
from urllib.parse import urlsplit

import django

from chaos import sockets


def main() -> None:
    """Serve until the input ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chaos.settings")
    django.setup()
    port = urlsplit(os.environ["CHAOS_BROKER"]).port or 0
    with sockets.watched(port) as operations:
        for line in sys.stdin:
            durations = [_timed() for _ in range(int(line))]
            _answer({"durations": durations, "operations": operations})


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _timed() -> float:
    """Time one transaction: write a row and an event, then commit."""
    from chaos.web import write_and_send

    time.sleep(random.uniform(0.002, 0.006))  # noqa: S311 - no secret
    started = time.perf_counter()
    write_and_send(f"request-{uuid.uuid4().int}", 0.0, rollback=False)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
