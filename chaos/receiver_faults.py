"""Faults that a receiver inflicts on the process that runs it."""

from __future__ import annotations

import contextlib
import os
import sys
import time


class UnforeseenError(BaseException):
    """An error that ``except Exception`` does not catch."""


def inject(name: str) -> None:
    """Inject the fault of this name; do nothing if the name is empty."""
    if name:
        RECEIVER_FAULTS[name]()


def after_effect() -> None:
    """Mark the moment between a receiver's effect and its return."""


def _exit() -> None:
    os._exit(3)


def _system_exit() -> None:
    sys.exit(3)


def _keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def _generator_exit() -> None:
    raise GeneratorExit


def _unforeseen() -> None:
    raise UnforeseenError("not a subclass of Exception")


def _eat_memory() -> None:
    """Allocate memory until killed; return after 200 rounds if nobody kills."""
    blocks = []
    for _ in range(200):
        blocks.append(bytearray(os.urandom(1 << 12)) * (1 << 10))
        time.sleep(0.01)


def _hang() -> None:
    time.sleep(60)


def _hang_despite_limit() -> None:
    """Hang, and ignore each exception that a time limit raises."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            time.sleep(1)


def _sleep() -> None:
    time.sleep(0.5)


def _sleep_longer() -> None:
    """Leave time to be paused or killed on a busy machine; not as long as a lease."""
    time.sleep(1.2)


def _sleep_briefly() -> None:
    time.sleep(0.1)


RECEIVER_FAULTS = {
    "exit": _exit,
    "SystemExit": _system_exit,
    "KeyboardInterrupt": _keyboard_interrupt,
    "GeneratorExit": _generator_exit,
    "unforeseen": _unforeseen,
    "eat memory": _eat_memory,
    "hang": _hang,
    "hang despite limit": _hang_despite_limit,
    "sleep": _sleep,
    "sleep longer": _sleep_longer,
    "sleep briefly": _sleep_briefly,
}
