"""Limits of all workers together: on deliveries, in code and by operators."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, Breaker, operations
from signal_tasks.exceptions import NotInForce
from signal_tasks.models import AuditEntry, Control, Delivery, Slot
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.relay.relay import Relay
from signal_tasks.steering.limits import Limits, limits_of
from signal_tasks.steering.snapshot import forget, snapshot
from signal_tasks.testing import run_pending
from tests.signal_tasks.steering.steps import (
    Service,
    connect,
    held,
    pass_time,
    run,
    send,
    states,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def service() -> Service:
    return Service()


def receiver(name: str) -> Receiver:
    found = registry.receiver(name)
    assert found is not None
    return found


def in_force(name: str) -> Limits:
    return limits_of(receiver(name), snapshot("default"))


# -- rates ------------------------------------------------------------------------


def test_no_more_starts_than_there_are_tokens_and_the_rest_is_held(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, rate_limit="60/m")
    ids = send(signal, 5)
    result = run(name, ids)
    assert (len(result.outcomes), result.held) == (1, 4)
    assert held(name) == {"limited": 4}
    assert Delivery.objects.filter(attempts=0, state="pending").count() == 4


def test_deliveries_are_counted_and_not_messages(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, rate_limit="1/s")
    result = run(name, send(signal, 30))
    assert len(result.outcomes) < 10
    assert result.held == 30 - len(result.outcomes)


def test_a_relay_releases_what_is_held_at_the_rate(
    signal: AsyncSignal, service: Service, relay: Relay
) -> None:
    name = connect(signal, service, rate_limit="40/s")
    run(name, send(signal, 200))
    pass_time(name, 1)
    released = []
    for _ in range(3):
        released += [each.released for each in _passes(relay)]
        pass_time(name, 0.4)
    assert released[0] == 1
    assert all(16 <= each <= 42 for each in released[1:])  # of a second at most


def _passes(relay: Relay) -> list[Any]:
    return list(relay.run_once().values())


def test_a_receiver_without_limits_is_not_held(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service)
    operations.limit("receiver:somebody.else", rate="1/h", max_concurrency=1)
    ids = send(signal, 30)
    assert len(run(name, ids).outcomes) == 30


# -- places -----------------------------------------------------------------------


def test_while_all_places_are_taken_the_message_is_held(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, max_concurrency=1, atomic=False)
    seen: list[int] = []
    service.meanwhile = lambda: seen.append(run(name, send(signal, 3)).held)
    run(name, send(signal))
    assert seen == [3]
    assert held(name) == {"limited": 3}


def test_a_message_goes_on_batch_after_batch_in_its_place(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, max_concurrency=1)
    ids = send(signal, 60)
    assert len(run(name, ids).outcomes) == 60
    assert states(ids) == {"succeeded": 60}


def test_a_relay_releases_what_is_held_once_there_is_a_place(
    signal: AsyncSignal, service: Service, relay: Relay
) -> None:
    name = connect(signal, service, max_concurrency=1, atomic=False)
    released: list[int] = []

    def compete() -> None:
        run(name, send(signal, 3))
        pass_time(name, 1)
        released.extend(each.released for each in _passes(relay))

    service.meanwhile = compete
    run(name, send(signal))
    pass_time(name, 1)
    released += [each.released for each in _passes(relay)]
    assert released == [0, 3]


def test_without_max_concurrency_there_are_no_slots(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, rate_limit="1000/s")
    run(name, send(signal, 3))
    assert not Slot.objects.exists()


# -- relays that hurry ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "hurries"),
    [({"rate_limit": "1/h"}, True), ({"breaker": Breaker(failures=1)}, False)],
)
def test_relays_pass_more_often_while_something_limited_is_held(
    options: dict[str, Any],
    hurries: bool,
    signal: AsyncSignal,
    service: Service,
    relay: Relay,
    settings: Any,
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "RELAY_INTERVAL": 600.0}
    name = connect(signal, service, **options)
    service.error = ConnectionError("down")
    run(name, send(signal, 3))
    run(name, send(signal, 3))
    assert held(name)
    forget()
    stop, passes = threading.Event(), threading.Semaphore(0)

    def run_pass() -> None:
        relay.run_once()
        connections.close_all()
        passes.release()

    thread = threading.Thread(target=relay.run_forever, args=(stop, run_pass))
    thread.start()
    assert passes.acquire(timeout=20)
    assert passes.acquire(timeout=10 if hurries else 1) is hurries
    stop.set()
    thread.join(20)


# -- statements -------------------------------------------------------------------


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], Any]:
    """Return the first words of the statements that a message makes."""
    monkeypatch.setattr("signal_tasks.steering.snapshot.MAX_AGE", 60.0)

    def made(name: str, ids: list[str]) -> list[str]:
        snapshot("default")
        with CaptureQueriesContext(connection) as queries:
            run(name, ids)
        return [query["sql"].split()[0] for query in queries.captured_queries]

    return made


CLAIM = (
    ["WITH"]
    if connection.vendor == "postgresql"
    else ["BEGIN", "SELECT", "UPDATE", "COMMIT", "SELECT"]
)
FINISH = ["BEGIN", "UPDATE", "COMMIT"]


def test_a_closed_breaker_costs_one_look_for_each_batch(
    signal: AsyncSignal, service: Service, statements: Any
) -> None:
    name = connect(signal, service, breaker=Breaker())
    ids = send(signal, 3)
    assert statements(name, ids) == ["SELECT", *CLAIM, *FINISH]


def test_a_receiver_without_limits_makes_no_statement_more(
    signal: AsyncSignal, service: Service, statements: Any
) -> None:
    connect(AsyncSignal(name="tests.limited"), Service(), rate_limit=1)
    name = connect(signal, service)
    ids = send(signal, 3)
    assert statements(name, ids) == CLAIM + FINISH


def test_a_rate_costs_one_update_for_each_block(
    signal: AsyncSignal, service: Service, statements: Any
) -> None:
    name = connect(signal, service, rate_limit="1000/s")
    run(name, send(signal))
    ids = send(signal, 3)
    set_local = ["SET"] if connection.vendor == "postgresql" else []
    taken = ["BEGIN", *set_local, "UPDATE", "COMMIT"]
    made = statements(name, ids)
    assert made in (CLAIM + FINISH, taken + CLAIM + FINISH)


def test_a_place_costs_a_lock_a_count_and_a_slot_in_the_transaction_of_the_claim(
    signal: AsyncSignal, service: Service, statements: Any
) -> None:
    name = connect(signal, service, max_concurrency=2)
    run(name, send(signal))
    made = statements(name, send(signal, 3))
    assert made[:3] == ["BEGIN", "UPDATE", "SELECT"]
    assert made.count("INSERT") == 1
    assert len(made) <= len(CLAIM) + 9 + len(FINISH)


# -- where limits do not hold -----------------------------------------------------


def test_run_pending_runs_what_is_due_whatever_the_limits(
    signal: AsyncSignal, service: Service
) -> None:
    opens = Breaker(failures=1)
    connect(signal, service, rate_limit="1/h", max_concurrency=1, breaker=opens)
    send(signal, 5)
    assert {handle.state for handle in run_pending()} == {"succeeded"}


def test_run_pending_runs_on_behind_an_open_breaker(
    signal: AsyncSignal, service: Service
) -> None:
    connect(signal, service, breaker=Breaker(failures=1))
    service.error = ConnectionError("down")
    send(signal, 5)
    run_pending()
    service.error = None
    assert {handle.state for handle in run_pending()} == {"succeeded"}


def test_inside_of_a_transaction_limits_do_not_hold(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, rate_limit="1/h", max_concurrency=1)
    ids = send(signal, 5)
    with transaction.atomic():
        assert len(run(name, ids).outcomes) == 5


# -- in force ---------------------------------------------------------------------


def test_the_code_says_what_is_in_force_where_no_operator_does(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, rate_limit="100/m", max_concurrency=4)
    assert in_force(name) == Limits(100 / 60, 4)


def test_an_operators_limit_holds_in_place_of_the_codes(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, rate_limit="1/s", max_concurrency=4)
    operations.limit(name, rate="50/s")
    assert in_force(name) == Limits(50, 4)
    operations.limit(name, max_concurrency=9)
    assert in_force(name) == Limits(1, 9)


def test_of_several_limits_the_strictest_holds(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, queue="mail")
    operations.limit(name, rate="50/s", max_concurrency=3)
    operations.limit("queue:mail", rate="5/s")
    operations.limit(signal, max_concurrency=2)
    operations.limit("*", rate="20/s", max_concurrency=8)
    assert in_force(name) == Limits(5, 2)


def test_a_limit_is_void_when_it_has_expired(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service)
    operations.limit(name, rate="1/h", until=timedelta(hours=1))
    assert in_force(name).rate is not None
    Control.objects.update(until=Control.objects.get().created_at)
    operations.limit("queue:other", rate=1)  # which also has the snapshot renewed
    assert in_force(name) == Limits()


def test_a_limit_that_is_cleared_does_not_hold_any_more(
    signal: AsyncSignal, service: Service, relay: Relay
) -> None:
    name = connect(signal, service)
    operations.limit(name, rate="1/h")
    ids = send(signal, 3)
    assert run(name, ids).held == 2
    operations.clear(name)
    (result,) = _passes(relay)
    assert result.released == 2
    assert len(run(name, ids).outcomes) == 2


def test_what_is_not_limited_cannot_be_cleared(signal: AsyncSignal) -> None:
    operations.limit("*", rate=5)
    with pytest.raises(NotInForce, match="is not limited; limited now: \\*"):
        operations.clear(signal)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give a rate"),
        ({"rate": "often"}, "rate is 'often'"),
        ({"rate": 0}, "rate is 0"),
        ({"rate": "1" * 40}, "rate is"),
        ({"max_concurrency": 0}, "max_concurrency is 0"),
        ({"max_concurrency": "4"}, "positive whole number"),
        ({"max_concurrency": 10**20}, "positive whole number up to 2147483647"),
        ({"rate": 1, "until": timedelta(0)}, "until is"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        operations.limit("*", **given)
    assert not Control.objects.exists()


def test_a_target_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="is no receiver, signal or queue"):
        operations.limit("nobody.knows.this", rate=1)


def test_each_act_is_in_the_audit_trail(signal: AsyncSignal, service: Service) -> None:
    name = connect(signal, service)
    operations.limit(name, rate="5/s", max_concurrency=2, reason="slow", by="ann")
    operations.clear(name, by="bob")
    limited, cleared = AuditEntry.objects.order_by("pk")
    target = f"receiver:{name}"
    assert (limited.verb, limited.target, limited.by) == ("limit", target, "ann")
    assert limited.reason == "slow"
    assert "--rate 5/s --max-concurrency 2" in limited.command
    assert (cleared.verb, cleared.target, cleared.by) == ("clear", target, "bob")


def test_limits_are_listed_with_the_controls(
    signal: AsyncSignal, service: Service
) -> None:
    operations.limit("*", rate="5/s", by="ann")
    (control,) = operations.controls()
    assert (control.kind, control.target, control.rate) == ("limit", "*", "5/s")


def test_the_state_of_each_breaker_is_listed(
    signal: AsyncSignal, service: Service
) -> None:
    opens = Breaker(failures=2, pause=30)
    names = [connect(signal, each, breaker=opens) for each in (service, Service())]
    service.error = ConnectionError("down")
    send(signal, 2)
    ids = Delivery.objects.filter(receiver=names[0]).values_list("pk", flat=True)
    run(names[0], [str(pk) for pk in ids])
    found = {each.receiver: each for each in operations.breakers()}
    broken, well = (found[name] for name in names)
    assert (broken.state, broken.failures) == ("open", 2)
    assert broken.probe_at is not None
    assert broken.changed_at is not None
    assert broken.probe_at - broken.changed_at == timedelta(seconds=30)
    assert (well.state, well.failures, well.changed_at) == ("closed", 0, None)
