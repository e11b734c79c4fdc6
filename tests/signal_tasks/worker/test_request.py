"""Of a message for a receiver's task, Celery gets to see nothing but the arguments."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from kombu.message import Message

from signal_tasks import AsyncSignal
from signal_tasks.conf import settings as outbox_settings
from signal_tasks.delivery.process import process
from signal_tasks.registry.registry import HARD_LIMIT_GRACE
from signal_tasks.worker.request import MAX_ID, MAX_SHOWN, ReceiverRequest
from tests.signal_tasks.conftest import listen

ONE, TWO = [str(uuid.uuid4())], [str(uuid.uuid4()), str(uuid.uuid4())]
#: Options that a message of Celery's carries besides its arguments.
EMBEDDED = {
    "callbacks": [{"task": "celery.accumulate", "args": [], "kwargs": {}}],
    "errbacks": [{"task": "celery.accumulate", "args": [], "kwargs": {}}],
    "chain": [{"task": "celery.accumulate", "args": [], "kwargs": {}}],
    "chord": {"task": "celery.accumulate", "args": [], "kwargs": {}},
    "is_eager": True,
}
NOT_PASSED_ON = sorted(set(dir(Context)) | {"groups"})
#: These are shown, as far as they are text, and nothing else.
SHOWN = ("argsrepr", "kwargsrepr", "origin", "id")


@pytest.fixture
def name(signal: AsyncSignal) -> str:
    """Connect a receiver without limits of its own; return its name."""
    return connect(signal)


def connect(signal: AsyncSignal, **options: Any) -> str:
    name = f"tests.limited_{uuid.uuid4().hex}"
    listen(signal, name=name, **options)
    return name


@pytest.fixture
def _worker_limits() -> Iterator[None]:
    """Limit tasks as ``--time-limit=7 --soft-time-limit=3`` do."""
    process.time_limit, process.soft_time_limit = 7.0, 3.0
    yield
    process.time_limit = process.soft_time_limit = None


def request(
    name: str,
    *,
    args: Any = (ONE, "default"),
    embedded: Any = None,
    properties: dict[str, Any] | None = None,
    **headers: Any,
) -> Any:
    """Receive a message as a worker does."""
    return received(name, headers, args=args, embedded=embedded, properties=properties)


def received(
    name: str,
    headers: dict[str, Any],
    args: Any = (ONE, "default"),
    embedded: Any = None,
    properties: dict[str, Any] | None = None,
) -> Any:
    message = Message(  # type: ignore[no-untyped-call]
        body=json.dumps([args, {}, embedded or {}]),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": name, "id": str(uuid.uuid4()), "lang": "py", **headers},
        properties=properties or {},
        delivery_info={"exchange": "", "routing_key": "tests"},
    )
    task = current_app.tasks[name]
    return ReceiverRequest(message, task=task, app=current_app, hostname="w")


def test_the_task_of_a_receiver_has_this_request(name: str) -> None:
    path = f"{ReceiverRequest.__module__}:{ReceiverRequest.__qualname__}"
    assert current_app.tasks[name].Request == path


@pytest.mark.parametrize("given", [[0.01, 0.01], [None, 0.01], [9e9, 9e9], "x", 7])
def test_a_message_sets_no_time_limit(given: Any, name: str) -> None:
    forged = request(name, timelimit=given)
    assert forged.time_limits == (None, None)
    assert forged.request_dict["timelimit"] == [None, None]


@pytest.mark.parametrize("given", [None, [0.01, 0.01], [9e9, 9e9]])
def test_a_receivers_own_limit_holds_whatever_the_message_says(
    given: Any, signal: AsyncSignal
) -> None:
    name = connect(signal, timeout=30)
    assert request(name, timelimit=given).time_limits == (30 + HARD_LIMIT_GRACE, 30)


@pytest.mark.usefixtures("_worker_limits")
def test_a_receiver_without_a_limit_has_that_of_the_worker(
    signal: AsyncSignal, name: str
) -> None:
    assert request(name).time_limits == (7, 3)
    own = connect(signal, timeout=30)
    assert request(own).time_limits == (30 + HARD_LIMIT_GRACE, 30)


@pytest.mark.usefixtures("_worker_limits")
def test_each_of_several_deliveries_has_the_whole_limit(
    signal: AsyncSignal, name: str
) -> None:
    more = outbox_settings().MESSAGE_SECONDS
    assert request(name, args=[TWO, "default"]).time_limits == (7 + more, 3 + more)
    own = connect(signal, timeout=30)
    hard, soft = request(own, args=[TWO, "default"]).time_limits
    assert (hard, soft) == (30 + HARD_LIMIT_GRACE + more, 30 + more)


@pytest.mark.parametrize("args", [[], [None], ["text"], [{}], [7, 7], [[], "default"]])
def test_arguments_of_any_shape_have_limits(args: Any, signal: AsyncSignal) -> None:
    name = connect(signal, timeout=30)
    _, soft = request(name, args=args).time_limits
    assert soft in (30, 30 + outbox_settings().MESSAGE_SECONDS)


@pytest.mark.parametrize("header", NOT_PASSED_ON)
def test_what_celery_acts_upon_is_not_passed_on(header: str, name: str) -> None:
    usual = received(name, {}).request_dict
    forged = received(name, {header: "forged"})
    assert forged.request_dict.keys() == usual.keys()
    assert header in SHOWN or forged.request_dict.get(header) != "forged"
    assert (forged.eta, forged.expires, forged.ignore_result) == (None, None, True)
    assert forged.name == name


def test_nothing_is_embedded(name: str) -> None:
    forged = request(name, embedded=EMBEDDED)
    assert forged.body == (forged.args, forged.kwargs, {})
    assert (forged.chord, forged.errbacks, forged.group) == (None, None, None)


def test_properties_are_not_passed_on(name: str) -> None:
    properties = {"reply_to": "loot", "correlation_id": "forged", "priority": "high"}
    forged = request(name, properties=properties)
    context = Context(forged.request_dict)
    assert forged.reply_to is None
    assert forged.correlation_id == forged.id
    assert context.delivery_info["priority"] is None
    assert context.properties == {}


def test_what_celery_does_not_know_is_passed_on(name: str) -> None:
    """Tracers look into the headers, and into a header of that name."""
    nested = {"sentry-trace": "1"}
    context = Context(
        request(name, traceparent="00-1-2-03", headers=nested).request_dict
    )
    assert context.get("traceparent") == "00-1-2-03"
    assert context.headers == nested


@pytest.mark.parametrize("number", ["", "two\nlines", "x" * (MAX_ID + 1), 7, None, {}])
def test_a_message_with_a_strange_id_is_invalid(number: Any, name: str) -> None:
    with pytest.raises(InvalidTaskError):
        request(name, id=number)


@pytest.mark.parametrize(
    "text", ["two\nlines", "x" * (MAX_SHOWN + 1), 7, {}, "\x1b[2J"]
)
def test_a_text_that_would_garble_a_log_is_not_shown(text: Any, name: str) -> None:
    forged = request(name, argsrepr=text, kwargsrepr=text, origin=text, shadow=text)
    shown = (forged.argsrepr, forged.kwargsrepr, forged.name)
    assert shown == ("", "", name)


@pytest.mark.parametrize("limit", ["time_limit", "soft_time_limit", "rate_limit"])
def test_remote_control_does_not_change_a_receivers_limits(
    limit: str, name: str
) -> None:
    task = current_app.tasks[name]
    before = getattr(task, limit)
    with pytest.raises(AttributeError, match=name):
        setattr(task, limit, 1)
    assert getattr(task, limit) == before
