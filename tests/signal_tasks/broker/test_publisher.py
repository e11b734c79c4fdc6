"""The pauses of the publisher. Tests with a real broker show what it publishes."""

from __future__ import annotations

import pytest

from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import MAX_PAUSE_FACTOR, Publisher

SHORTEST = 0.01


def requests(sends: int, receivers: int = 1) -> list[PublishRequest]:
    """Return what waits after so many sends to so many receivers."""
    return [
        PublishRequest(receiver=f"r{number}", database="default", ids=["id"])
        for _ in range(sends)
        for number in range(receivers)
    ]


def pause_at(rate: float, *, receivers: int = 1) -> float:
    """Return the pause that it settles for at so many sends per second."""
    pause = SHORTEST
    for _ in range(20):
        waiting = requests(max(round(rate * pause), 1), receivers)
        pause = Publisher._next_pause(pause, waiting)
    return pause


@pytest.mark.parametrize("rate", [1, 50, 100])
def test_a_quiet_process_publishes_at_once(rate: float) -> None:
    assert pause_at(rate) == SHORTEST


@pytest.mark.parametrize("receivers", [1, 3])
def test_a_busy_process_fills_its_messages(receivers: int) -> None:
    assert pause_at(1000, receivers=receivers) == pytest.approx(
        SHORTEST * MAX_PAUSE_FACTOR
    )


def test_sends_that_come_together_by_chance_slow_nothing_down() -> None:
    pause = Publisher._next_pause(SHORTEST, requests(3))
    assert pause == 2 * SHORTEST
    assert Publisher._next_pause(pause, requests(2)) == SHORTEST


def test_one_send_to_many_receivers_is_not_busy() -> None:
    assert Publisher._next_pause(SHORTEST, requests(1, receivers=10)) == SHORTEST
