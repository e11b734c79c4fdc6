"""Senders to receivers that may not start everything at once, and their outcome."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from chaos.environment import Environment, PromiseBroken
from chaos.models import Effect
from chaos.receivers import act_at_a_rate, act_behind_a_breaker, service_is_away
from chaos.signals import guarded, limited
from signal_tasks import operations
from signal_tasks.models import Delivery

#: Deliveries that no worker starts at once, however slow it is.
NUMBER = 5

#: Deliveries behind a breaker.
GUARDED = 6


def exceed_rate(env: Environment) -> None:
    """Send more at once than the rate of the receiver permits."""
    limited.send_many(None, [{"key": key} for key in _keys(env, NUMBER)])


def expect_all_at_the_rate(env: Environment) -> None:
    """Expect each of them to be run exactly once."""
    _expect_each_once(env, act_at_a_rate, "limited")


def open_breaker(env: Environment) -> None:
    """Send to a receiver whose service is away."""
    service_is_away().touch()
    guarded.send_many(None, [{"key": key} for key in _keys(env, GUARDED)])


def expect_all_behind_the_breaker(env: Environment) -> None:
    """Let the service answer; expect each to be run once, and the breaker to be closed."""
    service_is_away().unlink()
    _expect_each_once(env, act_behind_a_breaker, "guarded")
    for breaker in operations.breakers():
        if breaker.state != "closed":
            raise PromiseBroken(f"{breaker.receiver}: {breaker.state}, nothing waits")


def _keys(env: Environment, number: int) -> list[str]:
    return [f"{uuid.UUID(int=env.rng.getrandbits(128))}" for _ in range(number)]


def _expect_each_once(
    env: Environment, function: Callable[..., Any], kind: str
) -> None:
    """Expect the deliveries of a receiver to end, with one effect each."""
    receiver = f"{function.__module__}.{function.__qualname__}"
    rows = Delivery.objects.filter(receiver=receiver)
    env.expect(lambda: not rows.live().exists(), f"end of those {kind}", 60)
    effects = Counter(Effect.objects.filter(kind=kind).values_list("key", flat=True))
    if doubled := [key for key, number in effects.items() if number > 1]:
        raise PromiseBroken(f"{kind}: run twice: {doubled}")
    if len(effects) != rows.count():
        raise PromiseBroken(f"{kind}: {len(effects)} effects of {rows.count()}")
