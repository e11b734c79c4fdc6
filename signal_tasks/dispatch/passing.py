"""Send ``settled`` for an event: to inline receivers, and to the outbox for durable ones.

Its payload is that of the event with two keywords more. No value of it is written anew,
so what cannot be read here any more (a row that is gone, a class) does not matter before
a receiver reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.dispatch import Signal

from signal_tasks import codec, context, signals
from signal_tasks.dispatch.asking import Question, StoredPayload, ask_all
from signal_tasks.dispatch.sending import SendPaths
from signal_tasks.outbox.causes import check_depth
from signal_tasks.outbox.options import SendOptions
from signal_tasks.outbox.ordering import ordering_key
from signal_tasks.outbox.write import EncodedEvent, write
from signal_tasks.registry.settled import SettledEvent


class PassesOn(SendPaths):
    """A signal that is sent for events of another one, with what these have carried."""

    @property
    def is_heard(self) -> bool:
        """True if a receiver is connected, durable or inline."""
        return bool(self.receivers) or bool(self._durable.live)

    @property
    def locks_keys(self) -> bool:
        """True if a send locks rows of keys until it commits."""
        every = [each.receiver.options for each in self._durable.live]
        return any(each.ordered or each.coalesce is not None for each in every)

    def pass_on(self, event: SettledEvent) -> Mapping[str, BaseException]:
        """Send the signal for an event, in its context and caused by it.

        In the transaction that is open. Return the errors of receivers that do not get
        it, since their own ``when`` or key has failed, by their names. Raises what a
        hook or an inline receiver raises, and ``SignalLoop``.
        """
        headers, carried = context.split_headers(event.headers)
        causes = carried.pop(context.CAUSES, ())
        with context.surrounding(event.database, partial(context.restored, carried)):
            payload = StoredPayload(event.payload)
            current = context.CurrentDelivery(
                id=event.id,
                event_id=event.id,
                signal=event.signal,
                receiver=self.name,
                attempt=1,
                max_attempts=1,
                sent_at=event.sent_at,
                headers=headers,
                database=event.database,
                _extend=_has_no_lease,
                _payload=payload.readable,
                _causes=causes,
                _correlation=context.carried_correlation(carried),
            )
            surroundings = partial(context.delivering, current)
            with context.surrounding(event.database, surroundings):
                return self._pass_on(event, headers, payload)

    def _pass_on(
        self, event: SettledEvent, headers: Mapping[str, Any], payload: StoredPayload
    ) -> Mapping[str, BaseException]:
        check_depth(self.name)
        own = {"event_id": event.id, "outcomes": dict(event.outcomes)}
        answers = ask_all(self._durable.live, Question(event, payload, own, self._key))
        receivers = list(answers.receivers.values())
        key = answers.key or event.subject or str(event.id)
        encoded = EncodedEvent(
            self.name,
            codec.extended(event.payload, own),
            receivers,
            SendOptions(headers=headers or None, database=event.database),
            event.database,
            event.subject,
            ordering_key(self.name, key, receivers),
            answers.coalesced,
        )
        sender, named = payload.readable.sender, {**payload.readable.kwargs, **own}
        details = signals.SignalSending(signal=self, sender=sender, kwargs=named)
        signals.signal_sending.send(self, details=details)
        Signal.send(self, sender, **named)
        if receivers:
            write([encoded])
        return answers.errors


def _has_no_lease(seconds: float) -> None:
    """Do nothing: no lease of a worker runs while a signal is passed on."""
