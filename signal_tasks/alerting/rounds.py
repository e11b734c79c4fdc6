"""Look, send what is due, write that it was sent: by a relay in passes, or in one go.

See Note [Alerts] in ``alerting``. A relay never waits: what a thread sends is written
in a later pass. That takes nothing from the relay but the time of the look, which is
bounded to a share of its time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from signal_tasks import signals
from signal_tasks.alert import AlertOptions
from signal_tasks.alerting import state
from signal_tasks.alerting.channels import Channel, channels
from signal_tasks.alerting.sending import Sending
from signal_tasks.conf import settings

#: Time between two looks of all relays together, and the share of the time of one relay
#: that looks may take (seconds).
LOOK_EVERY, LOOK_SHARE = 15.0, 0.05
#: Who waits for a message to be sent does so for so long (seconds).
SEND_SECONDS = 30.0
#: After so long a callable, or mail server, that hangs is left to itself (seconds).
HANGING_SECONDS = 600.0
#: A relay that stops waits for so long, for all channels together (seconds).
CLOSE_SECONDS = 2.0


@dataclass(slots=True)
class Rounds:
    """The part of one relay in the alerts of one database (times: monotonic)."""

    _look_at: float = 0.0
    _under_way: dict[str, Sending] = field(default_factory=dict)

    def run(self, database: str) -> None:
        """Do what is to be done in this pass; nothing without the setting."""
        options = settings().ALERTS
        if options is None:
            return
        self._finish(options, database)
        started = time.monotonic()
        if started < self._look_at:
            return
        self._look_at = started + LOOK_EVERY  # also if it fails
        free = [c for c in channels(options) if c.name not in self._under_way]
        mine = _turns_of(free, database)
        found = state.look(database) if mine else {}
        for sending in _begin(mine, found, options, database):
            self._under_way[sending.channel.name] = sending
        took = time.monotonic() - started
        self._look_at = started + max(LOOK_EVERY, took / LOOK_SHARE)

    def close(self, database: str) -> None:
        """Write what is told at last, or others would send it again."""
        options = settings().ALERTS
        for sending in self._under_way.values():
            sending.wait(CLOSE_SECONDS / len(self._under_way))
            if options is not None:
                _finish(sending, options, database)
        self._under_way = {}

    def _finish(self, options: AlertOptions, database: str) -> None:
        for name, sending in list(self._under_way.items()):
            if sending.wait(0.0) or sending.seconds > HANGING_SECONDS:
                del self._under_way[name]
                _finish(sending, options, database)


def run_once(
    found: state.Found, options: AlertOptions, database: str
) -> Iterator[Sending]:
    """Send what is due of these problems, and wait for it; yield what came of it.

    Channels whose turn somebody else has are left to it.
    """
    mine = _turns_of(channels(options), database)
    for sending in list(_begin(mine, found, options, database)):
        sending.wait(SEND_SECONDS)
        _finish(sending, options, database)
        yield sending


def _turns_of(some: list[Channel], database: str) -> list[Channel]:
    return [each for each in some if state.take_turn(each.name, database)]


def _begin(
    mine: list[Channel], found: state.Found, options: AlertOptions, database: str
) -> Iterator[Sending]:
    for channel in mine:
        messages = state.due(channel.name, found, options, database)
        if messages:
            yield Sending(channel, messages)
        else:
            state.end_turn(channel.name, database, after=LOOK_EVERY)


def _finish(sending: Sending, options: AlertOptions, database: str) -> None:
    """Write what was told. Who has failed keeps the turn, and so tries later."""
    for told in list(sending.told):
        state.record(told, options, database)
    error = sending.failure()
    if error is None:
        if sending.seconds < state.TURN_SECONDS:  # else it may be somebody else's turn
            state.end_turn(sending.channel.name, database, after=LOOK_EVERY)
        return
    details = signals.AlertFailed(
        channel=sending.channel.name, database=database, error=error
    )
    signals.alert_failed.send_robust(Sending, details=details)
