"""Rows in PostgreSQL schemas: the sender's schema travels, or the send is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone

from signal_tasks import AsyncSignal, Coalesce, RetryPolicy
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import atomic_or_not, connect
from tests.testapp.models import Thing

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="it has schemas"),
]

HOOK = "signal_tasks.contrib.schemas.SearchPath"
TENANTS = ("one", "two")


def execute(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def path() -> str:
    return str(execute("SHOW search_path")[0])


@contextmanager
def tenant(name: str) -> Iterator[None]:
    """Be in a tenant's request: a connection of its own, with its schema."""
    connection.close()
    execute(f"SET search_path TO {name}, public")
    try:
        yield
    finally:
        connection.close()


@pytest.fixture(autouse=True)
def _tenants() -> Iterator[None]:
    """Give each tenant a table of things of its own."""
    for name in TENANTS:
        execute(f"CREATE SCHEMA {name}")
        execute(f"CREATE TABLE {name}.testapp_thing (LIKE public.testapp_thing)")
    yield
    connection.close()
    for name in TENANTS:
        execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def carried(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": [HOOK]}


def send_in_each(signal: AsyncSignal, **more: Any) -> None:
    """Send about a row that has the same key for each tenant, and in public."""
    Thing.objects.create(pk=1, name="of public")
    for name in TENANTS:
        with tenant(name):
            thing = Thing.objects.create(pk=1, name=f"of {name}")
            signal.send(sender=None, thing=thing, **more)
    signal.send(sender=None, thing=Thing.objects.get())


# -- without the hook -------------------------------------------------------------


SENDS: dict[str, Callable[[AsyncSignal], Any]] = {
    "send": lambda signal: signal.send(sender=None),
    "send_robust": lambda signal: signal.send_robust(sender=None),
    "send_many": lambda signal: signal.send_many(sender=None, items=[{}, {}]),
    "later": lambda signal: signal.using(delay=60).send(sender=None),
}


@pytest.mark.parametrize("way", SENDS)
def test_a_send_under_another_path_is_refused_with_the_way_out(
    way: str, signal: AsyncSignal
) -> None:
    listen(signal)
    listen(signal)
    with tenant("one"), transaction.atomic():
        with pytest.raises(ImproperlyConfigured, match="SearchPath"):
            SENDS[way](signal)
        Thing.objects.create(pk=1, name="the transaction is usable")
    assert execute("SELECT count(*) FROM one.testapp_thing") == (1,)
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("way", SENDS)
def test_a_send_under_the_path_of_a_new_connection_is_not(
    way: str, signal: AsyncSignal
) -> None:
    listen(signal)
    listen(signal)
    SENDS[way](signal)
    assert Delivery.objects.exists()


def test_a_path_that_the_project_gives_to_every_connection_is_no_other_one(
    signal: AsyncSignal,
) -> None:
    def choose(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO one, public")

    calls = listen(signal)
    connection.close()
    connection_created.connect(choose)
    try:
        Thing.objects.create(pk=1, name="of one")
        signal.send(sender=None, thing=Thing.objects.get())
        run_pending()
    finally:
        connection_created.disconnect(choose)
        connection.close()
    assert calls[0]["thing"].name == "of one"
    signal.send(sender=None)  # as everywhere again
    with tenant("one"), pytest.raises(ImproperlyConfigured):
        signal.send(sender=None)


def test_many_receivers_and_a_due_time_fit_into_the_statement(
    signal: AsyncSignal,
) -> None:
    for _ in range(3):
        listen(signal)
    at = timezone.now() + timedelta(hours=1)
    signal.using(at=at).send(sender=None)
    assert set(Delivery.objects.values_list("available_at", flat=True)) == {at}
    assert Delivery.objects.count() == 3


# -- with it ----------------------------------------------------------------------


@atomic_or_not
@pytest.mark.usefixtures("carried")
def test_each_delivery_gets_the_row_of_its_own_tenant(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def look(sender: object, thing: Thing, **kwargs: Any) -> None:
        seen.append((thing.name, Thing.objects.get().name))

    connect(signal, look, atomic=atomic)
    send_in_each(signal)
    run_pending()
    wanted = ["of one", "of two", "of public"]
    assert seen == [(name, name) for name in wanted]
    assert path() == '"$user", public'


@atomic_or_not
@pytest.mark.parametrize("error", ["SELECT 1 / 0", "SELECT * FROM nowhere"])
@pytest.mark.usefixtures("carried")
def test_one_that_fails_leaves_no_schema_behind(
    error: str, atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def look(sender: object, thing: Thing, fails: bool = False, **_: Any) -> None:
        seen.append(thing.name)
        if fails:
            execute(error)

    retry = RetryPolicy(max_attempts=1)
    connect(signal, look, atomic=atomic, retry=retry)
    send_in_each(signal, fails=True)
    run_pending()
    assert set(seen) == {"of one", "of two", "of public"}
    assert Delivery.objects.filter(state="dead").count() == 2
    assert path() == '"$user", public'


@atomic_or_not
@pytest.mark.usefixtures("carried")
def test_what_a_receiver_writes_is_its_own_tenants(
    atomic: bool, signal: AsyncSignal
) -> None:
    def rename(sender: object, thing: Thing, **kwargs: Any) -> None:
        thing.name += ", renamed"
        thing.save()

    connect(signal, rename, atomic=atomic)
    send_in_each(signal)
    run_pending()
    for name in ("one", "two", "public"):
        found = execute(f"SELECT name FROM {name}.testapp_thing")
        assert found == (f"of {name}, renamed",)


@pytest.mark.usefixtures("carried")
def test_so_is_what_a_hook_of_a_receiver_writes(signal: AsyncSignal) -> None:
    def rename(sender: object, thing: Thing, **kwargs: Any) -> None:
        thing.name += ", renamed"
        transaction.on_commit(thing.save)

    connect(signal, rename)
    send_in_each(signal)
    run_pending()
    for name in ("one", "two", "public"):
        found = execute(f"SELECT name FROM {name}.testapp_thing")
        assert found == (f"of {name}, renamed",)


@pytest.mark.usefixtures("carried")
def test_a_receiver_of_a_tenant_may_change_what_ends_with_its_transaction(
    signal: AsyncSignal,
) -> None:
    def hurry(sender: object, **kwargs: Any) -> None:
        execute("SET LOCAL statement_timeout = '5s'")

    connect(signal, hurry)
    with tenant("one"):
        signal.send(sender=None)
    run_pending()
    assert Delivery.objects.get().state == "succeeded"


@atomic_or_not
@pytest.mark.usefixtures("carried")
def test_a_tenant_that_is_gone_parks_its_deliveries_alone(
    atomic: bool, signal: AsyncSignal
) -> None:
    calls = listen(signal, atomic=atomic)
    send_in_each(signal)
    execute("DROP SCHEMA one CASCADE")
    run_pending()
    assert [call["thing"].name for call in calls] == ["of two", "of public"]
    assert Delivery.objects.get(state="dead").reason == "undecodable"
    assert "has no schema 'one' any more" in Attempt.objects.get().error
    assert path() == '"$user", public'


@pytest.mark.usefixtures("carried")
def test_what_a_receiver_sends_is_its_own_tenants(signal: AsyncSignal) -> None:
    seen = []

    def send_on(sender: object, thing: Thing, further: bool = True, **_: Any) -> None:
        seen.append(thing.name)
        if further:
            signal.send(sender=None, thing=thing, further=False)

    connect(signal, send_on)
    send_in_each(signal)
    run_pending()
    assert sorted(seen) == ["of one"] * 2 + ["of public"] * 2 + ["of two"] * 2


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.usefixtures("carried")
def test_a_connection_of_another_outbox_that_is_lost_is_named_in_the_error(
    signal: AsyncSignal, settings: Any
) -> None:
    both = {"DATABASES": ["default", "other"]}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **both}
    listen(signal)
    connections["other"].ensure_connection()
    connections["other"].connection.close()
    with pytest.raises(Error) as caught:
        signal.send(sender=None)
    assert any("asked 'other'" in note for note in caught.value.__notes__)
    connections["other"].close()
    signal.send(sender=None)
    assert Event.objects.count() == 1


@pytest.mark.usefixtures("carried")
def test_a_database_that_a_test_may_not_touch_is_not_asked(
    signal: AsyncSignal, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"DATABASES": ["default", "other"]}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **both}
    monkeypatch.setattr(connections["other"], "connection", object())  # open before
    listen(signal)
    signal.send(sender=None)
    assert Event.objects.count() == 1


@pytest.mark.usefixtures("carried")
def test_an_outbox_that_no_worker_reads_is_refused(signal: AsyncSignal) -> None:
    listen(signal)
    for table in ("signal_tasks_event", "signal_tasks_delivery"):
        execute(f"CREATE TABLE one.{table} (LIKE public.{table} INCLUDING ALL)")
    with tenant("one"), transaction.atomic():
        with pytest.raises(ImproperlyConfigured, match="not the one that workers read"):
            signal.send(sender=None)
        Thing.objects.create(pk=1, name="the transaction is usable")
    assert execute("SELECT count(*) FROM one.testapp_thing") == (1,)
    assert execute("SELECT count(*) FROM one.signal_tasks_event") == (0,)
    with tenant("two"):
        signal.send(sender=None)
    assert len(run_pending()) == 1


@pytest.mark.usefixtures("carried")
def test_a_send_that_meets_a_lost_connection_is_in_the_way_of_no_other_one(
    signal: AsyncSignal,
) -> None:
    calls = listen(signal)
    with suppress(Error):
        execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(Error):
        signal.send(sender=None)
    signal.send(sender=None)
    run_pending()
    assert len(calls) == 1


# -- keys -------------------------------------------------------------------------


def row_of(sender: object, thing: Thing, **named: Any) -> Thing:
    return thing


@pytest.mark.usefixtures("carried")
def test_sends_of_different_tenants_are_not_merged(signal: AsyncSignal) -> None:
    seen = []

    def look(sender: object, thing: Thing, **kwargs: Any) -> None:
        seen.append(thing.name)

    connect(signal, look, coalesce=Coalesce(key=row_of, within=0.001))
    send_in_each(signal)
    time.sleep(0.01)
    run_pending()
    assert sorted(seen) == ["of one", "of public", "of two"]


@pytest.mark.usefixtures("carried")
def test_a_dedupe_key_of_one_tenant_keeps_back_no_send_of_another(
    signal: AsyncSignal,
) -> None:
    calls = listen(signal)
    for name in TENANTS:
        with tenant(name):
            for _ in range(2):
                signal.using(dedupe_key="order 1").send(sender=None, of=name)
    run_pending()
    assert [call["of"] for call in calls] == list(TENANTS)


@pytest.mark.usefixtures("carried")
def test_a_dead_letter_of_one_tenant_blocks_no_row_of_another(
    signal: AsyncSignal,
) -> None:
    seen = []

    def fail_for_one(sender: object, thing: Thing, **kwargs: Any) -> None:
        seen.append(thing.name)
        if thing.name == "of one":
            raise ValueError

    retry = RetryPolicy(max_attempts=1)
    connect(signal, fail_for_one, ordered=True, retry=retry)
    send_in_each(signal)
    run_pending()
    assert sorted(seen) == ["of one", "of public", "of two"]


@pytest.mark.usefixtures("carried")
def test_a_connection_that_is_not_open_yet_is_no_other_tenant(
    signal: AsyncSignal,
) -> None:
    calls = listen(signal)
    for _ in range(2):
        signal.using(dedupe_key="order 1").send(sender=None)
        connection.close()
        signal.using(dedupe_key="order 1").send(sender=None)
    run_pending()
    assert len(calls) == 1
