"""Count the socket operations of each thread on the broker's port (P8)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: The methods of a socket that use the network.
OPERATIONS = (
    "connect",
    "connect_ex",
    "send",
    "sendall",
    "sendmsg",
    "recv",
    "recv_into",
)


@contextmanager
def watched(port: int) -> Iterator[dict[str, int]]:
    """Count the operations on sockets to this port, by the name of the thread."""
    counts: dict[str, int] = {}
    originals = {name: getattr(socket.socket, name) for name in OPERATIONS}
    for name, original in originals.items():
        setattr(socket.socket, name, _counted(original, port, counts))
    try:
        yield counts
    finally:
        for name in OPERATIONS:
            delattr(socket.socket, name)  # reveals the method of the base class


def _counted(
    original: Callable[..., Any], port: int, counts: dict[str, int]
) -> Callable[..., Any]:
    def counting(self: socket.socket, *args: Any, **kwargs: Any) -> Any:
        if port in (_peer(self), _address(args)):
            thread = threading.current_thread().name
            counts[thread] = counts.get(thread, 0) + 1
        return original(self, *args, **kwargs)

    return counting


def _peer(connected: socket.socket) -> int | None:
    try:
        return int(connected.getpeername()[1])
    except (OSError, IndexError, ValueError):
        return None


def _address(args: tuple[Any, ...]) -> int | None:
    """Return the port of the address in these arguments, if any."""
    first = args[0] if args else None
    return first[1] if isinstance(first, tuple) and len(first) > 1 else None
