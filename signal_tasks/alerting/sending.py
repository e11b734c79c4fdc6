"""Send in a thread of its own: a mail server may hang, and a callable for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from django.db import connections

from signal_tasks.alerting.channels import Channel
from signal_tasks.alerting.state import Due


class Sending:
    """The sending of messages over one channel, which has begun.

    ``told`` are those that were sent so far.
    """

    def __init__(self, channel: Channel, messages: Sequence[Due]) -> None:
        self.channel = channel
        self.told: list[Due] = []
        self._started_at = time.monotonic()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._send,
            args=(messages,),
            name="signal_tasks-alerts",
            daemon=True,
        )
        self._thread.start()

    @property
    def seconds(self) -> float:
        """The time since it has begun."""
        return time.monotonic() - self._started_at

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return False if it is not there after so long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def failure(self) -> BaseException | None:
        """Return what went wrong; that it is not over yet, if it is not."""
        if self._thread.is_alive():
            return TimeoutError("it has not returned yet")
        return self._error

    def _send(self, messages: Sequence[Due]) -> None:
        try:
            for message in self.channel.send(messages):
                self.told.append(message)
        # A callable of the project may raise anything, and a mail server fail in any
        # way; whoever has started this tells it, and tries again.
        except BaseException as error:  # noqa: BLE001
            self._error = error
        finally:
            connections.close_all()  # of this thread, if the callable has used any
