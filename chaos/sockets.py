"""Watches which thread touches a socket of the broker (P8)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: What one can do to a socket that goes over the network.
DEEDS = ("connect", "connect_ex", "send", "sendall", "sendmsg", "recv", "recv_into")


@contextmanager
def watched(port: int) -> Iterator[dict[str, int]]:
    """Count, by the name of the thread, what is done to sockets to this port."""
    counts: dict[str, int] = {}
    originals = {deed: getattr(socket.socket, deed) for deed in DEEDS}
    for deed, original in originals.items():
        setattr(socket.socket, deed, _counting(original, port, counts))
    try:
        yield counts
    finally:
        for deed in DEEDS:
            delattr(socket.socket, deed)  # those of the class below show again


def _counting(
    original: Callable[..., Any], port: int, counts: dict[str, int]
) -> Callable[..., Any]:
    def counting(self: socket.socket, *args: Any, **kwargs: Any) -> Any:
        if port in (_peer(self), _address(args)):
            name = threading.current_thread().name
            counts[name] = counts.get(name, 0) + 1
        return original(self, *args, **kwargs)

    return counting


def _peer(one: socket.socket) -> int | None:
    try:
        return int(one.getpeername()[1])
    except (OSError, IndexError, ValueError):
        return None


def _address(args: tuple[Any, ...]) -> int | None:
    """The port that is connected to."""
    first = args[0] if args else None
    return first[1] if isinstance(first, tuple) and len(first) > 1 else None
