"""The database of an event: that of its transaction, never a replica."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, deliveries_of
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.outbox.steps import OneAliasRouter, Undo, deliveries, undone
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

several_databases = pytest.mark.django_db(
    databases=["default", "other"], transaction=True
)


@pytest.fixture
def all_databases(settings: Any) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": None}


@several_databases
@pytest.mark.usefixtures("all_databases")
class TestSeveralDatabases:
    """Every alias whose transactions send has an outbox of its own."""

    def test_an_event_belongs_to_the_transaction_that_is_open(
        self, signal: AsyncSignal, submitted: list[PublishRequest]
    ) -> None:
        calls = listen(signal)
        with transaction.atomic(using="other"):
            ((_, handle),) = signal.send(sender=None)
        assert (deliveries("default"), deliveries("other")) == (0, 1)
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
        assert (deliveries("default"), deliveries("other")) == (1, 0)

    def test_an_instance_as_sender_brings_its_database(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        thing = Thing.objects.using("other").create(name="there")
        with transaction.atomic(using="default"), transaction.atomic(using="other"):
            signal.send(sender=thing, thing=thing)
        assert (deliveries("default"), deliveries("other")) == (0, 1)
        run_pending()
        assert calls[0]["thing"]._state.db == "other"

    def test_using_says_which(self, signal: AsyncSignal) -> None:
        listen(signal)
        signal.using(database="other").send(sender=None)
        signal.using(database="other").send_many(sender=None, items=[{}, {}])
        signal.using(database="default").send(sender=None)
        assert (deliveries("default"), deliveries("other")) == (1, 3)

    def test_without_any_hint_it_is_the_default(self, signal: AsyncSignal) -> None:
        listen(signal)
        signal.send(sender=None)
        assert (deliveries("default"), deliveries("other")) == (1, 0)

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
        assert (deliveries("default"), deliveries("other")) == (1, 0)

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
        assert (deliveries("default"), deliveries("other")) == (1, 1)

    def test_nested_ones_count_once(self, signal: AsyncSignal) -> None:
        listen(signal)
        with transaction.atomic(using="other"), transaction.atomic(using="other"):
            signal.send(sender=None)
        with transaction.atomic(using="other"), transaction.atomic(using="default"):
            signal.send(sender=None)
        assert (deliveries("default"), deliveries("other")) == (1, 1)


@several_databases
@pytest.mark.usefixtures("all_databases")
class TestRowsOfEqualKeys:
    """A delivery gets the row of the database that the sender's is in."""

    @pytest.fixture(autouse=True)
    def _routed(self, settings: Any) -> None:
        settings.DATABASE_ROUTERS = [OneAliasRouter()]

    @pytest.fixture
    def there(self) -> Thing:
        """Make a row of each database with the same key; return the other one's."""
        Thing(pk=7, name="here").save(using="default")
        Thing(pk=7, name="there").save(using="other")
        return Thing.objects.using("other").get()

    def test_it_is_read_from_the_transaction_that_was_open(
        self, signal: AsyncSignal, there: Thing
    ) -> None:
        calls = listen(signal)
        with transaction.atomic(using="other"):
            signal.send(sender=None, thing=there)
        run_pending()
        assert calls[0]["thing"].name == "there"

    def test_it_is_read_from_the_database_that_using_names(
        self, signal: AsyncSignal, there: Thing
    ) -> None:
        calls = listen(signal)
        signal.using(database="other").send(sender=None, things=[there])
        run_pending()
        assert calls[0]["things"][0].name == "there"

    def test_it_is_read_from_its_own_outbox_if_the_event_is_in_another(
        self, signal: AsyncSignal, there: Thing
    ) -> None:
        calls = listen(signal)
        here = Thing.objects.get()
        signal.using(database="default").send(sender=there, thing=here)
        assert (deliveries("default"), deliveries("other")) == (1, 0)
        run_pending()
        assert (calls[0]["sender"].name, calls[0]["thing"].name) == ("there", "here")


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
        assert len(self.asked) == 1  # so the engine would have been seen

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
