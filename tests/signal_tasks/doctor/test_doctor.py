"""``manage.py signal_tasks doctor``: each thing that is missing, and what to do."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from django.core.management import call_command
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from signal_tasks import AsyncSignal, RetryPolicy, operations
from signal_tasks.doctor import setup, workers
from signal_tasks.doctor.findings import within
from signal_tasks.management.commands.signal_tasks import Command
from signal_tasks.models import Delivery, Event, Worker
from signal_tasks.registry.naming import PROBE
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import command, told
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

#: Nobody takes the test event here: it is not waited for as long as by a person.
SOON = ("--timeout", "1")
Found = dict[str, list[dict[str, Any]]]


def examined(*args: str, status: int) -> Found:
    """Run the doctor; return its findings by their steps."""
    report = told("doctor", *(args or SOON), status=status)
    assert report["healthy"] is (status == 0)
    found: Found = {}
    for finding in report["findings"]:
        assert finding["remedy"] or finding["verdict"] in ("ok", "skipped")
        found.setdefault(finding["step"], []).append(finding)
    return found


def one(found: Found, step: str) -> str:
    """Return the only finding of a step in one line."""
    (finding,) = found[step]
    return "{verdict}: {text} -> {remedy}".format(**finding)


@pytest.fixture(autouse=True)
def _nobody_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait but shortly for processes and answers: no process is started here."""
    monkeypatch.setattr(workers, "START_SECONDS", 0.2)
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.2)


@pytest.fixture
def worker() -> Worker:
    """Let a worker have reported that runs a relay, and then take nothing."""
    return Worker.objects.create(name="celery@here", queues="tests")


def test_with_nothing_running_it_says_how_to_start_a_worker() -> None:
    found = examined(status=1)
    assert one(found, "workers").startswith("problem: default: no worker is alive")
    assert "celery -A tests" in one(found, "workers")
    assert one(found, "test event").startswith("skipped: default: needs a worker")
    assert one(found, "database").startswith("ok")


def test_the_lines_for_a_person_name_step_finding_and_remedy() -> None:
    text = command("doctor", *SOON, status=1)
    assert "problem  workers     default: no worker is alive" in text
    assert "-> Start one in another terminal: celery -A" in text


# -- settings, database, Celery app, broker, receivers -----------------------------


def test_a_wrong_setting_is_a_problem_and_not_a_traceback(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "LEESE": 5}
    settings.SILENCED_SYSTEM_CHECKS = []
    out = Output()
    with pytest.raises(SystemExit):
        call_command(Command(), "doctor", *SOON, stdout=out, skip_checks=False)
    assert "Did you mean 'LEASE'?" in out.text


class Output:
    """A stream that remembers."""

    text = ""

    def write(self, text: str) -> None:
        self.text += text


def test_a_warning_of_check_is_advice(settings: Any) -> None:
    settings.CELERY_BROKER_CONNECTION_MAX_RETRIES = 10
    first, second = examined(status=1)["settings"]
    assert (first["verdict"], second["verdict"]) == ("advice", "ok")
    assert "signal_tasks.W006" in first["text"]


def test_missing_migrations_are_named_and_what_needs_them_is_left_out() -> None:
    recorder = MigrationRecorder(connections["default"])
    recorder.migration_qs.filter(app="signal_tasks").delete()
    found = examined(status=1)
    assert "signal_tasks.0001_initial -> Run: manage.py migrate" in one(
        found, "database"
    )
    assert one(found, "test event").startswith("skipped: default: needs the database")


@pytest.mark.django_db(databases=["default", "other"])
def test_a_database_that_cannot_be_reached(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "/nowhere/db",
        "OPTIONS": {},
    }
    monkeypatch.setitem(
        connections.settings, "other", connections["other"].settings_dict | gone
    )
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "DATABASES": ["other"]}
    text = one(examined(status=1), "database")
    assert "does not answer: OperationalError" in text
    assert "DATABASES['other']" in text


def test_whatever_does_not_answer_is_waited_for_within_bounds() -> None:
    with pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, threading.Event().wait)


def use_app(monkeypatch: pytest.MonkeyPatch, app: Celery) -> None:
    monkeypatch.setattr("signal_tasks.broker.config.current_app", app)


def test_without_a_celery_app_it_says_to_write_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_app(monkeypatch, Celery("default", set_as_current=False))
    found = examined(status=1)
    assert "Write tests/celery.py" in one(found, "celery app")
    assert one(found, "broker").startswith("skipped: needs the Celery app")


def test_a_celery_app_that_is_not_imported_has_to_be(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    package = tmp_path / "doctored"
    package.mkdir()
    for name in ("__init__.py", "celery.py"):
        (package / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.SETTINGS_MODULE = "doctored.settings"
    use_app(monkeypatch, Celery("default", set_as_current=False))
    text = one({"celery app": [vars_of(setup.celery_app())]}, "celery app")
    sys.modules.pop("doctored")
    assert "doctored/celery.py is there, and nothing imports it" in text
    assert "from doctored.celery import app as celery_app" in text


def vars_of(finding: Any) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("verdict", "text", "remedy")}


def test_no_broker_is_named(settings: Any) -> None:
    settings.CELERY_BROKER_URL = None
    text = one(examined(status=1), "broker")
    assert "no broker is named" in text
    assert "Set CELERY_BROKER_URL" in text


@pytest.mark.parametrize(
    ("url", "error", "remedy"),
    [
        ("redis://:secret@127.0.0.1:1/0", "refused", "Start it, or name another one"),
        ("nosuch://here", "No such transport", "no address that Celery knows"),
        ("sqs://here", "boto", 'pip install "celery[sqs]"'),
    ],
)
def test_a_broker_that_cannot_be_reached(
    settings: Any, url: str, error: str, remedy: str
) -> None:
    settings.CELERY_BROKER_URL = url
    text = one(examined(status=1), "broker")
    assert error in text
    assert remedy in text
    assert "secret" not in text


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the URL of a broker that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_broker_that_hangs_is_told_within_bounds(settings: Any, silent: str) -> None:
    settings.CELERY_BROKER_URL = silent
    assert one(examined(status=1), "broker").startswith("problem")


def test_a_project_without_receivers_is_told_where_to_write_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signal_tasks.registry.registry.registry._entries", {})
    assert "tests.testapp.receivers has been imported" in one(
        {"receivers": [vars_of(setup.receivers())]}, "receivers"
    )


# -- workers ----------------------------------------------------------------------


def test_a_worker_that_consumes_nothing_is_not_enough() -> None:
    Worker.objects.create(name="celery@here", broker_error="ConnectionError: refused")
    text = one(examined(status=1), "workers")
    assert "celery@here is alive, and consumes no queue: ConnectionError" in text


def test_the_second_report_of_a_worker_is_waited_for_from_its_first_one(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """It comes when the first one was looked for almost as long as that may take."""
    clock = 0.0

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds

    def live_workers(alias: str) -> list[Worker]:
        first = 1.0
        queues = "celery" if clock > first + 4.5 else ""
        return [Worker(name="celery@new", queues=queues)] if clock > first else []

    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 10.0}
    monkeypatch.setattr(workers, "START_SECONDS", 1.5)
    fake = SimpleNamespace(monotonic=lambda: clock, sleep=sleep)
    monkeypatch.setattr(workers, "time", fake)
    monkeypatch.setattr(workers, "live_workers", live_workers)
    (worker,) = workers.live_when_started("default", timeout=15)
    assert worker.queues == "celery"


def test_a_queue_that_no_worker_consumes_is_named_with_its_receivers(
    worker: Worker, signal: AsyncSignal
) -> None:
    listen(signal, name="t.mail", queue="mail")
    texts = [each["text"] for each in examined(status=1)["workers"]]
    assert "no live worker consumes the queue 'mail' of t.mail" in texts


def test_without_a_relay_nothing_is_published_again(worker: Worker) -> None:
    Worker.objects.update(runs_relay=False)
    text = one(examined(status=1), "relay")
    assert text.startswith("problem: default: no relay is alive")
    assert "manage.py signal_tasks relay" in text


# -- the test event ---------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_times_of_a_test_event_are_told_and_nothing_of_it_is_left(
    settings: Any,
) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    (finding,) = examined("--timeout", "20", status=0)["test event"]
    times = finding["details"]["times"]
    assert times["send"] >= 0
    assert 0 <= times["start"] <= times["finish"]
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


def test_a_test_event_that_nobody_takes_is_a_problem_and_is_removed(
    worker: Worker,
) -> None:
    text = one(examined(status=1), "test event")
    assert "nobody has taken it from 'tests' within 1 s" in text
    assert not Event.objects.exists()


def test_a_test_event_goes_to_a_queue_that_is_consumed(worker: Worker) -> None:
    Worker.objects.update(queues="mail")
    assert "taken it from 'mail'" in one(examined(status=1), "test event")


def test_a_pause_of_everything_explains_why_nothing_runs(worker: Worker) -> None:
    operations.pause("*")
    text = one(examined(status=1), "test event")
    assert "it is paused" in text
    assert 'resume "*"' in text


def test_the_test_event_has_no_place_in_lists_and_health() -> None:
    examined(status=1)
    assert PROBE not in told("list")
    assert PROBE not in told("status", status=1)["receivers"]


def test_a_receiver_that_fails_is_advice_with_its_latest_error(
    signal: AsyncSignal,
) -> None:
    def fail(sender: object, **_: Any) -> None:
        raise ConnectionError("no mail\ntoday")

    slow, once = RetryPolicy(backoff=600.0, jitter=False), RetryPolicy(max_attempts=1)
    signal.connect(fail, name="t.retrying", weak=False, retry=slow)
    give_up = partial(fail)  # another receiver
    signal.connect(give_up, name="t.given_up", weak=False, retry=once)
    signal.send(sender=None)
    run_pending()
    retrying, dead = examined(status=1)["deliveries"]
    assert retrying["verdict"] == dead["verdict"] == "advice"
    assert retrying["text"] == (
        "default: t.retrying: 1 failed, to be tried again; the latest error: "
        "ConnectionError: no mail\\ntoday"
    )
    assert str(Delivery.objects.get(receiver="t.retrying").pk) in retrying["remedy"]
    assert dead["text"] == "default: t.given_up: 1 dead, and not tried again"
    assert told("status", status=1)["receivers"]["t.retrying"]["retrying"] == 1


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf", "nan"])
def test_a_timeout_is_a_number_of_seconds(given: str) -> None:
    with pytest.raises(Exception, match="no number of seconds above 0"):
        command("doctor", "--timeout", given)
