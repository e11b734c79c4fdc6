"""``python -m chaos.request_loop``: a web process that times its own transactions.

Each line of its input is a number of transactions to make. It answers with a line
of JSON: their durations in seconds, and how often each of its threads has touched a
socket of the broker so far. It ends, as a web process does, when its input ends.
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
    """Serve until there is no more to do."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chaos.settings")
    django.setup()
    port = urlsplit(os.environ["CHAOS_BROKER"]).port or 0
    with sockets.watched(port) as touched:
        for line in sys.stdin:
            durations = [_timed() for _ in range(int(line))]
            _answer({"durations": durations, "touched": touched})


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _timed() -> float:
    """One request's transaction: a row and an event, then the commit."""
    from chaos.web import confirm

    time.sleep(random.uniform(0.002, 0.006))  # noqa: S311 - as requests come
    started = time.perf_counter()
    confirm(f"request-{uuid.uuid4()}", 0.0, regret=False)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
