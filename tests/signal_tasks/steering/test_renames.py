"""A receiver that a deploy renames, and what was paused, held, limited or broken."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from signal_tasks import AsyncSignal, Breaker, operations
from signal_tasks.healthcheck.problem import Kind
from signal_tasks.models import Gate, HeldDelivery
from signal_tasks.operations import clear, controls, limit, pause, resume
from signal_tasks.relay.relay import Relay
from signal_tasks.reports.overview import overview
from signal_tasks.reports.receivers import receiver as receiver_report
from signal_tasks.steering.snapshot import forget
from signal_tasks.telemetry import gauges
from tests.signal_tasks.relay.steps import pass_time as make_due
from tests.signal_tasks.relay.steps import run_pass
from tests.signal_tasks.steering.steps import (
    AT_ONCE,
    Service,
    changes,
    gate,
    pass_time,
    run,
    send,
    states,
)

pytestmark = pytest.mark.django_db(transaction=True)

BREAKER = Breaker(failures=2, window=60, pause=30)


@pytest.fixture(autouse=True)
def _no_signals_are_left() -> Iterator[None]:
    """Forget signals of the old and the new code, of which checks find two of a name."""
    yield
    gc.collect()


class Code:
    """The code of a process, which knows a receiver under its names of that time."""

    def __init__(self, **options: Any) -> None:
        self.service = Service()
        self.options = {"retry": AT_ONCE} | options
        names = (f"t.{when}_{uuid.uuid4().hex}" for when in ("before", "after") * 2)
        self.before, self.after, self.signal_before, self.signal_after = names

    @contextmanager
    def old(self) -> Iterator[AsyncSignal]:
        """Be a process of the code before the rename."""
        signal = AsyncSignal(name=self.signal_before)
        with self._connected(signal, self.before):
            yield signal

    @contextmanager
    def new(self, aliases: str = "before") -> Iterator[AsyncSignal]:
        """Be one of the code after it, which knows these aliases."""
        former = aliases.replace("before", self.before).split()
        signal = AsyncSignal(name=self.signal_after, aliases=[self.signal_before])
        with self._connected(signal, self.after, former):
            yield signal

    @contextmanager
    def _connected(
        self, signal: AsyncSignal, name: str, aliases: Sequence[str] = ()
    ) -> Iterator[AsyncSignal]:
        def receiver(sender: object, **kwargs: Any) -> None:
            self.service(sender, **kwargs)

        options = {"name": name, "aliases": aliases, **self.options}
        signal.connect(receiver, weak=False, **options)
        forget()
        yield signal
        signal.disconnect(receiver)


def released(relay: Relay, passes: int = 1) -> int:
    """Return how many deliveries a relay releases in so many passes."""
    number = 0
    for _ in range(passes):
        forget()
        number += run_pass(relay).released
    return number


# -- places -----------------------------------------------------------------------


def test_old_and_new_code_share_the_places() -> None:
    code = Code(max_concurrency=1, atomic=False)
    seen: list[int] = []

    def compete() -> None:
        with code.new() as signal:
            seen.append(run(code.after, send(signal, 3)).held)

    code.service.meanwhile = compete
    with code.old() as signal:
        run(code.before, send(signal))
    assert seen == [3]
    assert code.service.calls == 1


@pytest.mark.parametrize("aliases", ["before", "t.another before"])
def test_what_old_code_had_claimed_is_claimed_again_by_new_code(
    aliases: str,
) -> None:
    code = Code(max_concurrency=2)
    code.service.error = ValueError("on purpose")
    with code.old() as signal:
        ids = send(signal, 2)
        run(code.before, ids)
    code.service.error = None
    with code.new(aliases):
        assert len(run(code.after, ids).outcomes) == 2
    assert states(ids) == {"succeeded": 2}


@pytest.mark.parametrize("aliases", ["before", "t.another before"])
@pytest.mark.parametrize("options", [{"max_concurrency": 1}, {"rate_limit": "1/m"}])
def test_what_old_code_has_held_is_released_by_new_code(
    options: dict[str, Any], aliases: str, relay: Relay
) -> None:
    code = Code(**options, atomic=False)
    with code.old() as signal:

        def compete() -> None:
            run(code.before, send(signal, 3))

        code.service.meanwhile = compete
        run(code.before, send(signal))
    assert HeldDelivery.objects.count() == 3
    pass_time(code.before, 61)
    with code.new(aliases):
        assert released(relay) >= 1


def test_what_is_held_is_released_once_its_former_name_is_forgotten(
    relay: Relay,
) -> None:
    code = Code(max_concurrency=1)
    with code.new() as signal:
        pause(code.after)
        run(code.after, send(signal, 3))
        resume(code.after)
    with code.new("t.another"):
        assert released(relay) == 3


# -- rates and breakers -----------------------------------------------------------


def test_old_and_new_code_share_the_rate() -> None:
    code = Code(rate_limit="1/h")
    with code.old() as signal:
        assert len(run(code.before, send(signal)).outcomes) == 1
    with code.new() as signal:
        assert run(code.after, send(signal)).held == 1
        pass_time(code.before, 3601)
        assert len(run(code.after, send(signal)).outcomes) == 1
    with code.old() as signal:
        assert run(code.before, send(signal)).held == 1


def test_old_and_new_code_share_the_breaker() -> None:
    code = Code(breaker=BREAKER)
    code.service.error = ConnectionError("down")
    with code.old() as signal:
        run(code.before, send(signal))
    with code.new() as signal, changes() as told:
        run(code.after, send(signal))
        (opened,) = told
        assert (opened.receiver, opened.state) == (code.after, "open")
        (shown,) = [b for b in operations.breakers() if b.receiver == code.after]
        assert (shown.state, shown.failures) == ("open", 2)
    with code.old() as signal:
        assert run(code.before, send(signal)).held == 1
        pass_time(code.before, 31)
        code.service.error = None
        assert len(run(code.before, send(signal)).outcomes) == 1
    with code.new() as signal:
        assert len(run(code.after, send(signal)).outcomes) == 1
    assert gate(code.before).breaker == "closed"
    assert not Gate.objects.filter(receiver=code.after).exists()


def test_a_relay_of_new_code_holds_what_old_code_has_broken(relay: Relay) -> None:
    code = Code(breaker=BREAKER)
    code.service.error = ConnectionError("down")
    with code.old() as signal:
        run(code.before, send(signal, 2))
    with code.new() as signal:
        send(signal, 3)
        make_due(hours=1)
        forget()
        assert run_pass(relay).held == 5
        code.service.error = None
        pass_time(code.before, 31)
        assert released(relay) == 1


def broken(code: Code) -> None:
    """Have the old code open the breaker."""
    code.service.error = ConnectionError("down")
    with code.old() as signal:
        run(code.before, send(signal, 2))
    assert gate(code.before).breaker == "open"


def problems() -> list[str]:
    """Return the receivers of whose breaker ``status`` tells."""
    found = overview("default").problems
    return [each.subject for each in found if each.kind == Kind.BREAKER]


def test_what_old_code_has_broken_is_shown_under_the_present_name() -> None:
    code = Code(breaker=BREAKER)
    broken(code)
    with code.new():
        assert problems() == [code.after]
        assert gauges.read("default").breakers == [code.after]
        shown = {each.name: each.breaker for each in overview("default").receivers}
        assert (shown[code.after], shown[code.before]) == ("open", "closed")
        found = receiver_report("default", code.after).gate
        assert found is not None
        assert found.breaker == "open"


@pytest.mark.parametrize("aliases", ["before", "t.another before"])
def test_what_is_broken_no_more_in_the_code_is_no_problem(aliases: str) -> None:
    code = Code(breaker=BREAKER)
    broken(code)
    if aliases == "before":
        del code.options["breaker"]
    with code.new(aliases):
        assert problems() == []
        assert gauges.read("default").breakers == []


# -- controls ---------------------------------------------------------------------

each_kind = pytest.mark.parametrize(
    ("before", "after"), [("before", "after"), ("signal_before", "signal_after")]
)


@pytest.mark.parametrize("named", [0, 1])
@each_kind
def test_what_was_set_before_the_rename_is_lifted_by_either_name(
    before: str, after: str, named: int
) -> None:
    code = Code()
    before, after = getattr(code, before), getattr(code, after)
    with code.old():
        pause(before)
        limit(before, rate=1)
    with code.new():
        assert len(controls()) == 2
        resume((before, after)[named])
        clear((before, after)[named])
    assert controls() == []


@each_kind
def test_what_is_set_again_after_the_rename_is_set_for_old_code_as_well(
    before: str, after: str
) -> None:
    code = Code()
    before, after = getattr(code, before), getattr(code, after)
    with code.old():
        pause(before, reason="one", by="ada")
    with code.new():
        pause(after, reason="two", by="grace", until=timedelta(hours=1))
        found = controls()
        assert {each.target.partition(":")[2] for each in found} == {before, after}
        assert {(each.reason, each.by) for each in found} == {("two", "grace")}
        assert None not in {each.until for each in found}
    with code.old() as signal:
        assert run(code.before, send(signal)).held == 1


def test_a_paused_signal_that_was_renamed_is_released_when_it_is_resume(
    relay: Relay,
) -> None:
    code = Code()
    with code.old() as signal:
        pause(code.signal_before)
        run(code.before, send(signal, 3))
    with code.new():
        pause(code.signal_after)
        assert released(relay) == 0
        resume(code.signal_after)
        assert released(relay) == 3
