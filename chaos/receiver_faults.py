"""What a receiver can do to the process that runs it."""

from __future__ import annotations

import contextlib
import os
import sys
import time


class Unforeseen(BaseException):
    """An error that no ``except Exception`` sees."""


def do(task: str) -> None:
    """Do the misdeed of that name; without a name, behave."""
    if task:
        RECEIVER_FAULTS[task]()


def _exit() -> None:
    os._exit(3)


def _leave() -> None:
    sys.exit(3)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _stop_generator() -> None:
    raise GeneratorExit


def _unforeseen() -> None:
    raise Unforeseen("of a kind that nobody expects")


def _eat() -> None:
    """Eat memory until killed; stop by itself where nobody kills."""
    eaten = []
    for _ in range(200):
        eaten.append(bytearray(os.urandom(1 << 12)) * (1 << 10))
        time.sleep(0.01)


def _hang() -> None:
    time.sleep(60)


def _hang_deaf() -> None:
    """Never return, and hear nothing of a limit that can be ignored."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            time.sleep(1)


def _nap() -> None:
    time.sleep(0.5)


def _doze() -> None:
    time.sleep(0.1)


RECEIVER_FAULTS = {
    "exit": _exit,
    "leave": _leave,
    "interrupt": _interrupt,
    "stop generator": _stop_generator,
    "unforeseen": _unforeseen,
    "eat": _eat,
    "hang": _hang,
    "hang deaf": _hang_deaf,
    "nap": _nap,
    "doze": _doze,
}
