"""Events that came of one have one correlation id, and log records say it."""

from __future__ import annotations

import json
import logging
import runpy
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.core.exceptions import ImproperlyConfigured

from signal_tasks import AsyncSignal, CurrentDelivery, current_delivery
from signal_tasks.contrib.requests import RequestId, in_request
from signal_tasks.models import Event
from signal_tasks.telemetry.logs import CorrelationFilter, correlation
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[3]


class Chain:
    """A signal whose receiver sends a second one, whose receiver sends a third."""

    def __init__(self) -> None:
        self.seen: list[CurrentDelivery] = []
        self.signals = [AsyncSignal(name=f"t.{uuid.uuid4().hex}") for _ in range(3)]
        self.headers: dict[str, Any] | None = None
        for number, signal in enumerate(self.signals):
            listener = self._listener(self.signals[number + 1 :])
            signal.connect(listener, name=f"{signal.name}.receiver", weak=False)

    def _listener(self, later: list[AsyncSignal]) -> Any:
        def listener(sender: object, **kwargs: Any) -> None:
            self.seen.append(current_delivery())
            for signal in later[:1]:
                signal.using(headers=self.headers).send(sender=None)

        return listener

    def run(self, **headers: object) -> list[CurrentDelivery]:
        """Send the first, and return the deliveries of all."""
        self.signals[0].using(headers=headers or None).send(sender=None)
        while run_pending():
            pass
        return self.seen


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_the_first_event_of_a_chain_gives_the_id(chain: Chain) -> None:
    deliveries = chain.run()
    first = deliveries[0].event_id
    assert [each.correlation_id for each in deliveries] == [str(first)] * 3


def test_a_header_gives_the_id_to_all_that_follow(chain: Chain) -> None:
    found = [each.correlation_id for each in chain.run(correlation_id="import-7")]
    assert found == ["import-7"] * 3


def test_a_header_in_the_middle_of_a_chain_begins_another(chain: Chain) -> None:
    chain.headers = {"correlation_id": "other"}
    found = [each.correlation_id for each in chain.run(correlation_id="import-7")]
    assert found == ["import-7", "other", "other"]


def test_the_id_of_the_request_is_taken_where_it_is_carried(
    chain: Chain, settings: Any
) -> None:
    hooks = ["signal_tasks.contrib.requests.RequestId"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": hooks}
    with in_request("abc-1"):
        found = [each.correlation_id for each in chain.run()]
    assert found == ["abc-1"] * 3
    carried = [event.context_mapping() for event in Event.objects.all()]
    assert [each["request_id"] for each in carried] == ["abc-1"] * 3
    assert not any("correlation_id" in each for each in carried)


def test_each_event_knows_its_cause(chain: Chain) -> None:
    first, second, third = chain.run()
    assert first.cause_id is None
    assert second.cause_id == first.event_id
    assert third.cause_id == second.event_id


def test_a_plain_send_stores_nothing_for_it(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    assert Event.objects.get().headers == ""


@pytest.mark.parametrize("given", ["x" * 5000, 12, "two\nlines"])
def test_whatever_is_given_is_a_short_text(given: object, chain: Chain) -> None:
    for each in chain.run(correlation_id=given):
        assert each.correlation_id == str(given)[:255]


class Trace(RequestId):
    name = "traceparent"


class Correlation(RequestId):
    name = "correlation_id"


@pytest.mark.parametrize("hook", [Trace, Correlation])
def test_a_hook_cannot_take_the_name(
    hook: type[RequestId], signal: AsyncSignal, settings: Any
) -> None:
    paths = [f"{__name__}.{hook.__name__}"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": paths}
    listen(signal)
    with pytest.raises(ImproperlyConfigured, match=hook.name):
        signal.send(sender=None)


# -- in log records ---------------------------------------------------------------


def test_records_of_a_receiver_say_for_which_delivery_they_were_made(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    def log(sender: object, **kwargs: Any) -> None:
        logging.getLogger("tests").warning("inside")

    caplog.handler.addFilter(CorrelationFilter())
    signal.connect(log, name="t.logging", weak=False)
    using = signal.using(headers={"correlation_id": "two\nlines"})
    ((_, handle),) = using.send(sender=None)
    run_pending()
    logging.getLogger("tests").warning("outside")
    inside, outside = (vars(record) for record in caplog.records)
    fields = ("delivery_id", "event_id", "receiver", "correlation_id")
    assert [inside[field] for field in fields] == [
        str(handle.id),
        str(handle.event_id),
        "t.logging",
        "two\\nlines",
    ]
    assert [outside[field] for field in fields] == [""] * 4


def test_a_record_keeps_a_field_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(CorrelationFilter())
    logging.getLogger("tests").warning("own", extra={"receiver": "of a parcel"})
    assert vars(caplog.records[0])["receiver"] == "of a parcel"


def test_the_fields_are_there_for_other_libraries(signal: AsyncSignal) -> None:
    found = []

    def look(sender: object, **kwargs: Any) -> None:
        found.append(correlation())

    signal.connect(look, name="t.looking", weak=False)
    ((_, handle),) = signal.send(sender=None)
    run_pending()
    assert found[0]["delivery_id"] == str(handle.id)
    assert set(correlation().values()) == {""}


CONFIGURED = """
LOGGING = {
    "version": 1,
    "filters": {"ids": {"()": "signal_tasks.telemetry.logs.CorrelationFilter"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "filters": ["ids"]}},
    "root": {"handlers": ["out"]},
}
from django.conf import settings
settings.configure(
    LOGGING=LOGGING, USE_TZ=True, INSTALLED_APPS=["django.contrib.contenttypes", "signal_tasks"],
    CELERY_BROKER_URL="memory://", DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}},
)
import django
django.setup()
"""


def test_the_filter_can_be_named_in_the_settings_of_a_project() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_recipe_for_structlog_says_the_ids(
    signal: AsyncSignal, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(ROOT / "docs/reference/examples/structlog_ids.py"))

    def log(sender: object, **kwargs: Any) -> None:
        structlog.get_logger().info("inside", receiver="of a parcel")

    signal.connect(log, name="t.structured", weak=False)
    ((_, handle),) = signal.send(sender=None)
    run_pending()
    structlog.get_logger().info("outside")
    structlog.reset_defaults()
    inside, outside = map(json.loads, capsys.readouterr().out.splitlines())
    assert inside == {
        "delivery_id": str(handle.id),
        "event_id": str(handle.event_id),
        "correlation_id": str(handle.event_id),
        "receiver": "of a parcel",
        "event": "inside",
    }
    assert outside == {"event": "outside"}
