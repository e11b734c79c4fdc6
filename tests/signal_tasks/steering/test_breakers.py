"""Breakers: a receiver that fails is left alone, and found to work again by a probe."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection

from signal_tasks import AsyncSignal, Breaker, Reject, Retry, RetryPolicy
from signal_tasks.models import Attempt, Delivery, Gate
from signal_tasks.registry.registry import registry
from signal_tasks.relay.relay import Relay
from signal_tasks.steering import breaker as breakers
from signal_tasks.telemetry import logs
from tests.signal_tasks.steering.steps import (
    Service,
    changes,
    connect,
    gate,
    held,
    pass_time,
    run,
    send,
    states,
)

pytestmark = pytest.mark.django_db(transaction=True)

BREAKER = Breaker(failures=3, window=60, pause=30)
atomic_or_not = pytest.mark.parametrize("atomic", [True, False])


@pytest.fixture
def service() -> Service:
    return Service()


def opened(signal: AsyncSignal, service: Service, **options: Any) -> str:
    """Connect a receiver and have its breaker opened; return its name."""
    name = connect(signal, service, **{"breaker": BREAKER, **options})
    service.error = ConnectionError("mail server is down")
    run(name, send(signal, 3))
    assert gate(name).breaker == "open"
    return name


def is_open(name: str) -> bool:
    receiver = registry.receiver(name)
    assert receiver is not None
    return breakers.is_open(receiver, "default")


@atomic_or_not
def test_consecutive_failures_open_it(
    atomic: bool, signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, breaker=BREAKER, atomic=atomic)
    service.error = ConnectionError("down")
    run(name, send(signal, 2))
    assert gate(name).breaker == "closed"
    run(name, send(signal))
    assert gate(name).breaker == "open"
    assert gate(name).failures == 3


@atomic_or_not
def test_what_was_claimed_with_it_is_not_run_once_it_is_open(
    atomic: bool, signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, breaker=BREAKER, atomic=atomic)
    service.error = ConnectionError("down")
    ids = send(signal, 9)
    run(name, ids)
    assert Delivery.objects.filter(attempts=1).count() == 3
    assert held(name) == {"breaker": 6}


def test_an_open_breaker_holds_and_spends_no_attempts(
    signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service)
    ids = send(signal, 5)
    calls = service.calls
    assert run(name, ids).held == 5
    assert service.calls == calls
    assert set(Delivery.objects.filter(pk__in=ids).values_list("attempts")) == {(0,)}
    assert held(name) == {"breaker": 5}


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (ConnectionError("down"), True),
        (Retry("busy"), True),
        (Retry("busy", counts=False), False),
        (Reject("bad address"), False),
    ],
)
def test_only_failures_that_count_as_attempts_to_be_repeated_open_it(
    error: Exception, counts: bool, signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, breaker=BREAKER)
    service.error = error
    for _ in range(3):
        run(name, send(signal))
    assert is_open(name) is counts


def test_errors_that_the_policy_refuses_do_not_open_it(
    signal: AsyncSignal, service: Service
) -> None:
    policy = RetryPolicy(give_up_on=ValueError)  # type: ignore[arg-type]
    name = connect(signal, service, breaker=BREAKER, retry=policy)
    service.error = ValueError("this delivery is at fault")
    for _ in range(3):
        run(name, send(signal))
    assert not is_open(name)


@atomic_or_not
def test_a_success_in_between_begins_anew(
    atomic: bool, signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, breaker=BREAKER, atomic=atomic)
    for works in (False, False, True, False, False):
        service.error = None if works else ConnectionError("down")
        run(name, send(signal))
    assert gate(name).breaker == "closed"
    assert gate(name).failures == 2


def test_failures_that_are_far_apart_do_not_open_it(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service, breaker=BREAKER)
    service.error = ConnectionError("down")
    for _ in range(4):
        run(name, send(signal))
        pass_time(name, 45)
    assert gate(name).breaker == "closed"


def test_a_receiver_without_a_breaker_has_no_gate(
    signal: AsyncSignal, service: Service
) -> None:
    name = connect(signal, service)
    service.error = ConnectionError("down")
    run(name, send(signal, 3))
    assert not Gate.objects.filter(receiver=name).exists()


@atomic_or_not
def test_after_the_pause_one_delivery_probes_and_closes_it(
    atomic: bool, signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service, atomic=atomic)
    pass_time(name, 31)
    service.error = None
    ids = send(signal, 4)
    run(name, ids)
    assert states(ids) == {"succeeded": 4}
    assert (gate(name).breaker, gate(name).failures) == ("closed", 0)


def test_before_the_pause_is_over_nothing_probes(
    signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service)
    pass_time(name, 25)
    service.error = None
    assert run(name, send(signal)).held == 1


@atomic_or_not
def test_a_failed_probe_opens_it_again_and_spends_no_attempt(
    atomic: bool, signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service, atomic=atomic)
    calls = service.calls
    ids = send(signal, 5)
    pass_time(name, 31)
    run(name, ids)
    assert service.calls == calls + 1
    assert gate(name).breaker == "open"
    assert gate(name).failures == 4
    assert set(Delivery.objects.filter(pk__in=ids).values_list("attempts")) == {(0,)}
    assert held(name) == {"breaker": 4}


def test_many_failed_probes_of_one_delivery_are_one_record(
    signal: AsyncSignal, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "MAX_UNCOUNTED", 3)
    name = opened(signal, service)
    ids = send(signal)
    for _ in range(5):
        pass_time(name, 31)
        run(name, ids)
    (record,) = Attempt.objects.filter(delivery_id=ids[0])
    assert (record.consequence, record.times) == ("deferred", 5)
    assert states(ids) == {"pending": 1}


def test_give_up_after_ends_probes(signal: AsyncSignal, service: Service) -> None:
    policy = RetryPolicy(give_up_after=20, backoff=0)
    name = opened(signal, service, retry=policy)
    ids = send(signal)
    pass_time(name, 31)
    run(name, ids)
    assert states(ids) == {"dead": 1}
    assert gate(name).breaker == "open"


def test_a_probe_that_says_nothing_leaves_the_next_one_to_another_delivery(
    signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service)
    ids = send(signal, 2)
    pass_time(name, 31)
    service.error = Reject("bad address")
    run(name, ids[:1])
    assert gate(name).breaker == "open"
    service.error = None
    run(name, ids[1:])
    assert gate(name).breaker == "closed"


def test_a_probe_that_had_been_done_already_leaves_it_to_another_delivery(
    signal: AsyncSignal, service: Service
) -> None:
    service.error = None
    name = connect(signal, service, breaker=BREAKER)
    done = send(signal)
    run(name, done)
    service.error = ConnectionError("down")
    run(name, send(signal, 3))
    pass_time(name, 31)
    service.error = None
    run(name, done)
    assert gate(name).breaker == "open"
    run(name, send(signal))
    assert gate(name).breaker == "closed"


def test_while_one_probes_no_other_does(signal: AsyncSignal, service: Service) -> None:
    name = opened(signal, service, atomic=False)
    pass_time(name, 31)
    others: list[int] = []

    def compete() -> None:
        assert gate(name).breaker == "half_open"
        others.append(run(name, send(signal)).held)

    service.error = None
    service.meanwhile = compete
    run(name, send(signal))
    assert others == [1]


def test_a_probe_whose_worker_died_counts_as_lost_when_its_lease_is_over(
    signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service, timeout=5)
    pass_time(name, 31)
    receiver = registry.receiver(name)
    assert receiver is not None
    assert breakers.admit(receiver, "default") is breakers.Admission.PROBE
    assert breakers.admit(receiver, "default") is breakers.Admission.NONE
    pass_time(name, 16)  # its lease was one of 15 s
    assert breakers.admit(receiver, "default") is breakers.Admission.PROBE


def test_each_change_is_told_once(signal: AsyncSignal, service: Service) -> None:
    with changes() as told:
        name = opened(signal, service)
        pass_time(name, 31)
        run(name, send(signal))
        pass_time(name, 31)
        service.error = None
        run(name, send(signal))
    facts = [(each.state, each.failures, repr(each.error)) for each in told]
    down = repr(ConnectionError("mail server is down"))
    assert facts == [
        ("open", 3, down),
        ("half_open", 3, "None"),
        ("open", 4, down),
        ("half_open", 4, "None"),
        ("closed", 0, "None"),
    ]
    assert {each.receiver for each in told} == {name}


def test_a_change_is_logged(
    signal: AsyncSignal, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    logs.start()
    with caplog.at_level(logging.WARNING, "signal_tasks"):
        name = opened(signal, service)
    (record,) = [r for r in caplog.records if "breaker_changed" in r.getMessage()]
    assert record.levelname == "ERROR"
    assert f"receiver={name}" in record.getMessage()
    assert "state=open failures=3" in record.getMessage()


def test_a_relay_holds_what_is_due_while_it_is_open(
    signal: AsyncSignal, service: Service, relay: Relay
) -> None:
    name = opened(signal, service)
    send(signal, 4)
    Delivery.objects.filter(attempts=1).delete()
    pass_time(name, 10)
    (result,) = relay.run_once().values()
    assert (result.held, result.published) == (4, 0)


def test_a_relay_releases_one_when_it_is_time_to_probe(
    signal: AsyncSignal, service: Service, relay: Relay
) -> None:
    name = opened(signal, service)
    ids = send(signal, 4)
    run(name, ids)
    Delivery.objects.filter(attempts=1).delete()
    (before,) = relay.run_once().values()
    pass_time(name, 31)
    (after,) = relay.run_once().values()
    assert before.released == 0
    assert after.released == 1


def test_a_relay_releases_everything_once_it_is_closed(
    signal: AsyncSignal, service: Service, relay: Relay
) -> None:
    name = opened(signal, service)
    run(name, send(signal, 40))
    pass_time(name, 31)
    service.error = None
    run(name, send(signal))
    pass_time(name, 1)
    (result,) = relay.run_once().values()
    assert result.released == 40
    assert held(name) == {}


@pytest.mark.parametrize("atomic", [True, False])
def test_a_success_and_what_its_breaker_notes_are_written_both_or_neither(
    atomic: bool, signal: AsyncSignal, service: Service
) -> None:
    name = opened(signal, service, atomic=atomic)
    service.error = None
    pass_time(name, 31)
    (probe,) = send(signal)
    lost: list[str] = []

    def lose_once(execute: Any, sql: str, *rest: Any) -> Any:
        """Have the database refuse, once, what closes the breaker."""
        if not lost and sql.startswith("UPDATE") and "failing_since" in sql:
            lost.append(sql)
            raise OperationalError("on purpose")
        return execute(sql, *rest)

    with connection.execute_wrapper(lose_once), suppress(OperationalError):
        run(name, [probe])
    assert lost
    is_closed = gate(name).breaker == "closed"
    assert (states([probe]) == {"succeeded": 1}) is is_closed
