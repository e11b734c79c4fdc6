"""The outbox: events exist if and only if the sender's transaction commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, connections, transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from signal_tasks import AsyncSignal, deliveries_of
from signal_tasks.models import Delivery, Event
from signal_tasks.publisher import Parcel, publisher
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

several_databases = pytest.mark.django_db(
    databases=["default", "other"], transaction=True
)


class Undo(Exception):
    """Ends a transaction without committing it."""


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Parcel]:
    """What was handed to the publisher; it is published all the same."""
    parcels: list[Parcel] = []
    submit = publisher.submit

    def submit_and_note(parcel: Parcel) -> None:
        parcels.append(parcel)
        submit(parcel)

    monkeypatch.setattr(publisher, "submit", submit_and_note)
    return parcels


def owed(database: str = "default") -> int:
    return len(Delivery.objects.using(database))


@contextmanager
def undone(using: str = "default") -> Iterator[None]:
    """A transaction that is rolled back in the end."""
    with suppress(Undo), transaction.atomic(using=using):
        yield
        raise Undo


# -- commit and rollback ----------------------------------------------------------


def test_a_committed_send_is_owed_and_published(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    listen(signal)
    with transaction.atomic():
        ((_, handle),) = signal.send(sender=None)
        assert submitted == []
    assert owed() == 1
    (parcel,) = submitted
    assert parcel.ids == [str(handle.id)]
    assert parcel.database == "default"


def test_a_rolled_back_send_never_was(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    listen(signal)
    with undone():
        ((_, handle),) = signal.send(sender=None)
    assert not Event.objects.exists()
    assert submitted == []
    with pytest.raises(Delivery.DoesNotExist):
        handle.refresh()


def test_a_rolled_back_savepoint_takes_only_its_own_sends(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    calls = listen(signal)
    with transaction.atomic():
        signal.send(sender="before")
        with undone():
            signal.send(sender="inside")
        signal.send(sender="after")
    assert sum(len(parcel.ids) for parcel in submitted) == 2
    run_pending()
    assert [call["sender"] for call in calls] == ["before", "after"]


def test_a_nested_block_that_commits_is_undone_with_the_outer_one(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    listen(signal)
    with undone(), transaction.atomic(), transaction.atomic(savepoint=False):
        signal.send(sender=None)
    assert owed() == 0
    assert submitted == []


def test_several_sends_of_one_transaction_commit_together(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    calls = listen(signal)
    other = AsyncSignal(name="t.several")
    listen(other)
    with transaction.atomic():
        for number in range(5):
            signal.send(sender=None, number=number)
        other.send(sender=None)
    assert owed() == 6
    run_pending()
    assert [call["number"] for call in calls] == [0, 1, 2, 3, 4]


def test_outside_of_a_transaction_a_send_is_one_of_its_own(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    listen(signal)
    listen(signal)
    signal.send(sender=None)
    assert (Event.objects.count(), owed()) == (1, 2)
    assert sum(len(parcel.ids) for parcel in submitted) == 2


def test_a_transaction_by_hand_is_respected(signal: AsyncSignal) -> None:
    listen(signal)
    transaction.set_autocommit(False)
    try:
        signal.send(sender="kept")
        transaction.commit()
        signal.send(sender="undone")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert owed() == 1


def test_a_transaction_that_is_marked_for_rollback_takes_the_event_along(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    with transaction.atomic():
        signal.send(sender=None)
        transaction.set_rollback(True)
    assert owed() == 0


def test_a_failed_hook_of_somebody_else_loses_nothing(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    calls = listen(signal)

    def fail() -> None:
        raise Undo

    def send_after_them() -> None:
        with transaction.atomic():
            transaction.on_commit(fail)
            signal.send(sender=None)

    with pytest.raises(Undo):
        send_after_them()
    assert submitted == []  # the relay will bring it: the row is there
    assert Delivery.objects.get().relay_at is not None
    run_pending()
    assert len(calls) == 1


def test_a_delayed_send_is_left_to_the_relay(
    signal: AsyncSignal, submitted: list[Parcel]
) -> None:
    listen(signal)
    signal.using(delay=60).send(sender=None)
    assert owed() == 1
    assert submitted == []


# -- statements -------------------------------------------------------------------


def statements(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"].split()[0] for query in queries.captured_queries]


#: PostgreSQL is given the two inserts as one statement.
INSERTS = ["WITH"] if connection.vendor == "postgresql" else ["INSERT", "INSERT"]


@pytest.mark.parametrize("receivers", [1, 10])
def test_a_send_adds_two_inserts_to_a_transaction(
    receivers: int, signal: AsyncSignal
) -> None:
    for _ in range(receivers):
        listen(signal)
    with transaction.atomic():
        thing = Thing.objects.create(name="x")
        with CaptureQueriesContext(connection) as queries:
            signal.send(sender=thing, thing=thing)
    assert statements(queries) == INSERTS


def test_a_send_of_its_own_is_one_transaction_of_two_inserts(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    with CaptureQueriesContext(connection) as queries:
        signal.send(sender=None)
    assert statements(queries) == ["BEGIN", *INSERTS, "COMMIT"]


@pytest.mark.parametrize("events", [1, 7])
def test_names_and_payloads_may_hold_what_means_something_in_sql(events: int) -> None:
    strange = """100 %s %% o'clock "now" \\' {now}"""
    signal = AsyncSignal(name=f"{strange} signal {events}")
    calls = listen(signal, name=f"{strange} receiver {events}")
    signal.send_many(sender=None, items=[{"said": strange}] * events)
    run_pending()
    assert [call["said"] for call in calls] == [strange] * events
    sent = Event.objects.filter(signal=signal.name)
    assert sent.filter(deliveries__state="succeeded").count() == events


# -- several databases ------------------------------------------------------------


@pytest.fixture
def all_databases(settings: Any) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": None}


@several_databases
@pytest.mark.usefixtures("all_databases")
class TestSeveralDatabases:
    """Every alias whose transactions send has an outbox of its own."""

    def test_an_event_belongs_to_the_transaction_that_is_open(
        self, signal: AsyncSignal, submitted: list[Parcel]
    ) -> None:
        calls = listen(signal)
        with transaction.atomic(using="other"):
            ((_, handle),) = signal.send(sender=None)
        assert (owed("default"), owed("other")) == (0, 1)
        assert handle.database == "other"
        assert submitted[0].database == "other"
        run_pending()
        assert len(calls) == 1
        assert handle.refresh().state == "succeeded"
        assert deliveries_of(handle.event_id, database="other") == [handle]

    def test_it_goes_with_that_transaction(self, signal: AsyncSignal) -> None:
        listen(signal)
        with transaction.atomic(using="default"):
            with undone(using="other"):
                signal.using(database="other").send(sender="undone")
            signal.send(sender="kept")
        assert (owed("default"), owed("other")) == (1, 0)

    def test_an_instance_as_sender_brings_its_database(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        thing = Thing.objects.using("other").create(name="there")
        with transaction.atomic(using="default"), transaction.atomic(using="other"):
            signal.send(sender=thing, thing=thing)
        assert (owed("default"), owed("other")) == (0, 1)
        run_pending()
        assert calls[0]["thing"]._state.db == "other"

    def test_using_says_which(self, signal: AsyncSignal) -> None:
        listen(signal)
        signal.using(database="other").send(sender=None)
        signal.using(database="other").send_many(sender=None, items=[{}, {}])
        signal.using(database="default").send(sender=None)
        assert (owed("default"), owed("other")) == (1, 3)

    def test_without_any_hint_it_is_the_default(self, signal: AsyncSignal) -> None:
        listen(signal)
        signal.send(sender=None)
        assert (owed("default"), owed("other")) == (1, 0)

    def test_a_mirror_holds_no_outbox(self, signal: AsyncSignal) -> None:
        listen(signal)
        with pytest.raises(ImproperlyConfigured, match="default, other"):
            signal.using(database="replica").send(sender=None)

    def test_a_database_that_is_left_out_is_not_used(
        self, signal: AsyncSignal, settings: Any
    ) -> None:
        settings.SIGNAL_TASKS = {"DATABASES": ["default"]}
        listen(signal)
        with transaction.atomic(using="other"):
            signal.send(sender=None)
        assert (owed("default"), owed("other")) == (1, 0)

    def test_a_sender_reaches_its_receivers_writes_on_its_own_database(
        self, signal: AsyncSignal
    ) -> None:
        def write(sender: Thing, **kwargs: Any) -> None:
            Thing.objects.using("other").create(name="written")
            raise Undo

        signal.connect(write, name="t.write_there")
        signal.using(database="other").send(sender=None)
        run_pending()
        assert not Thing.objects.using("other").exists()


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.usefixtures("all_databases")
class TestSeveralDatabasesInATestCase:
    """The transactions that a TestCase has open on every database do not count."""

    def test_an_event_belongs_to_the_transaction_that_the_code_opened(
        self, signal: AsyncSignal
    ) -> None:
        listen(signal)
        with transaction.atomic(using="other"):
            signal.send(sender=None)
        signal.send(sender=None)
        assert (owed("default"), owed("other")) == (1, 1)

    def test_nested_ones_count_once(self, signal: AsyncSignal) -> None:
        listen(signal)
        with transaction.atomic(using="other"), transaction.atomic(using="other"):
            signal.send(sender=None)
        with transaction.atomic(using="other"), transaction.atomic(using="default"):
            signal.send(sender=None)
        assert (owed("default"), owed("other")) == (1, 1)


class ReplicaRouter:
    """Reads from the replica, writes to the primary."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type, **hints: Any) -> str:
        return "default"

    def allow_relation(self, *objects: object, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, *labels: object, **hints: Any) -> bool:
        return db != "replica"


@pytest.mark.django_db(databases=["default", "other", "replica"], transaction=True)
class TestReadingFromAReplica:
    """The engine never asks a replica: it may lag behind."""

    @pytest.fixture(autouse=True)
    def _routed(self, settings: Any) -> Iterator[None]:
        settings.SIGNAL_TASKS = {"DATABASES": None}
        settings.DATABASE_ROUTERS = [ReplicaRouter()]
        replica = connections["replica"]
        with CaptureQueriesContext(replica) as queries:
            self.asked = queries
            yield

    def test_a_send_is_written_and_run_on_the_primary(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        thing = Thing.objects.create(name="one")
        ((_, handle),) = signal.send(sender=thing, thing=thing)
        run_pending()
        handle.refresh()
        assert handle.state == "succeeded"
        assert calls[0]["thing"] == thing
        assert len(self.asked) == 0
        assert Thing.objects.filter(pk=thing.pk).exists()
        assert len(self.asked) == 1  # which is how we know that we would have seen it

    def test_an_instance_that_was_read_there_is_written_about_here(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        Thing.objects.create(name="one")
        thing = Thing(pk=Thing.objects.using("default").get().pk, name="one")
        thing._state.adding, thing._state.db = False, "replica"
        with transaction.atomic():
            ((_, handle),) = signal.send(sender=thing)
        assert handle.database == "default"
        run_pending()
        assert calls[0]["sender"]._state.db == "default"
        assert len(self.asked) == 0


# -- requests ---------------------------------------------------------------------

in_request = AsyncSignal()


def send_in_request(request: HttpRequest) -> HttpResponse:
    ((_, handle),) = in_request.send(sender=None, path=request.path)
    if "fail" in request.GET:
        raise Undo
    return HttpResponse(str(handle.id))


urlpatterns = [path("send/", send_in_request)]


@pytest.mark.urls(__name__)
class TestAtomicRequests:
    """With ATOMIC_REQUESTS the request is the transaction."""

    @pytest.fixture(autouse=True)
    def _atomic(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)

        def hear(sender: object, path: str, **kwargs: Any) -> None: ...

        in_request.connect(hear, name="t.in_request")
        yield
        in_request.disconnect(hear)

    def test_a_request_that_succeeds_owes_its_event(
        self, client: Client, submitted: list[Parcel]
    ) -> None:
        response = client.get("/send/")
        assert owed() == 1
        assert submitted[0].ids == [response.content.decode()]

    def test_a_request_that_fails_owes_nothing(
        self, client: Client, submitted: list[Parcel]
    ) -> None:
        with pytest.raises(Undo):
            client.get("/send/?fail=1")
        assert owed() == 0
        assert submitted == []


# -- the rows ---------------------------------------------------------------------


def test_a_receiver_has_at_most_one_delivery_of_an_event(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    row = Delivery.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.create(
            event=row.event, receiver=row.receiver, relay_at=row.relay_at
        )


@pytest.mark.parametrize(
    "change",
    [
        {"state": "succeeded"},  # but still watched by the relay
        {"finished_at": Now()},  # over, but still watched by the relay
        {"relay_at": None, "finished_at": Now()},  # over, but pending
        {"relay_at": None},  # not over, and nobody looks after it
    ],
)
def test_the_database_refuses_a_delivery_that_nobody_would_look_after(
    change: dict[str, Any], signal: AsyncSignal
) -> None:
    listen(signal)
    signal.send(sender=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.update(**change)
