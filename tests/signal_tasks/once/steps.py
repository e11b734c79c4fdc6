"""Steps of tests of dedupe and coalescing: send from many threads at the same time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

from django.db import connection

#: Clients that the server of the tests lets in, with some to spare.
SENDERS = {"postgresql": 80, "mysql": 80, "sqlite": 20}[connection.vendor]


def at_once(number: int, send: Callable[[int], Any]) -> tuple[list[Any], list[Any]]:
    """Send in so many threads, each over its own connection; answers and errors."""
    ready = Barrier(number)
    answers: list[Any] = []
    errors: list[Any] = []

    def run(n: int) -> None:
        try:
            connection.ensure_connection()
            ready.wait(60)
            answers.append(send(n))
        except BaseException as error:  # noqa: BLE001 - the test shows it
            errors.append(error)
        finally:
            connection.close()

    threads = [Thread(target=run, args=[n], daemon=True) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return answers, errors
