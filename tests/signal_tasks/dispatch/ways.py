"""The four methods that send one event, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from signal_tasks import AsyncSignal

Send = Callable[..., list[tuple[Any, Any]]]


def ways(signal: AsyncSignal) -> dict[str, Send]:
    return {
        "send": signal.send,
        "send_robust": signal.send_robust,
        "asend": async_to_sync(signal.asend),
        "asend_robust": async_to_sync(signal.asend_robust),
    }


every_way = pytest.mark.parametrize(
    "way", ["send", "send_robust", "asend", "asend_robust"]
)

robust_ways = pytest.mark.parametrize("way", ["send_robust", "asend_robust"])
