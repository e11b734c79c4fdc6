"""Forged messages run nothing but deliveries that are pending and due.

The tests write them into Redis themselves, in the form of Celery's protocol.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_client

from signal_tasks import AsyncSignal
from signal_tasks.broker.publisher import publisher
from signal_tasks.models import Attempt, Delivery
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    runs,
    states,
)
from tests.servers import RedisServer
from tests.testapp.receivers import (
    note_atomically,
    overrun,
    work_inside,
    work_outside,
)
from tests.testapp.signals import inside, outside, timed


def name_of(receiver: Callable[..., object]) -> str:
    return f"{receiver.__module__}.{receiver.__qualname__}"


TASK, ANOTHER = name_of(work_inside), name_of(note_atomically)
#: A task that Celery is asked to send; nobody consumes its queue.
LOOT = {
    "task": TASK,
    "args": [["x"], "default"],
    "kwargs": {},
    "options": {"queue": "loot"},
    "subtask_type": None,
    "immutable": True,
}
LONG_AGO, IN_A_YEAR = "2020-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"


def forge(server: RedisServer, *args: Any, task: str = TASK, **kwargs: Any) -> None:
    """Write a message in the form of Celery's into Redis."""
    body = json.dumps([args, kwargs, {}]).encode()
    push(server, body, headers={"task": task, "lang": "py", "argsrepr": ""})


def push(
    server: RedisServer,
    body: bytes,
    *,
    headers: dict[str, Any],
    content_type: str = "application/json",
    **properties: Any,
) -> None:
    number = str(uuid.uuid4())
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": {"id": number, "root_id": number, "origin": "me", **headers},
        "properties": {
            "correlation_id": number,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "tests"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": number,
            **properties,
        },
    }
    with redis_client.Redis.from_url(server.url) as client:
        client.lpush("tests", json.dumps(message))


def park(sent: AsyncSignal, **kwargs: Any) -> str:
    """Send what is due, but has no message; the relay looks at it in an hour."""
    later = sent.using(delay=timedelta(hours=1))
    ((_, handle),) = later.send(sender=None, **kwargs)
    Delivery.objects.filter(pk=handle.id).update(available_at=LONG_AGO)
    return str(handle.id)


def still_works(worker: CeleryWorker, children: list[int]) -> bool:
    """Tell whether the worker still delivers, with the same processes as before."""
    inside.send(sender=None, key="proof")
    eventually(lambda: "proof" in effects("inside"))
    return worker.is_running() and worker.children() == children


@pytest.mark.parametrize(
    "args",
    [
        [[str(uuid.uuid4())], "default"],
        [["no id", 7, None, [], {}, "\0", "9" * 5000], "default"],
        [[str(uuid.uuid4()) for _ in range(20_000)], "default"],
        ["text", "default"],
        [{"a": 1}, "default"],
        [None, None],
        [7, 7],
        [[str(uuid.uuid4())], "nowhere"],
        [[str(uuid.uuid4())], ["default"]],
        [[str(uuid.uuid4())], "other"],
        [],
        [[], "default", "and", "more"],
    ],
    ids=lambda args: json.dumps(args)[:20],
)
def test_a_message_of_nonsense_is_nothing_to_do(
    args: list[Any], worker: CeleryWorker, redis: RedisServer
) -> None:
    children = worker.children()
    forge(redis, *args)
    assert still_works(worker, children)
    assert [run.key for run in runs()] == ["proof"]


def test_keywords_are_nothing_to_do_either(
    worker: CeleryWorker, redis: RedisServer
) -> None:
    children = worker.children()
    forge(redis, ids={"x": 1}, database={}, sender="me", order=1)
    assert still_works(worker, children)


def test_a_task_that_nobody_registered_does_not_run(
    worker: CeleryWorker, redis: RedisServer
) -> None:
    children = worker.children()
    forge(redis, "/tmp/x", task="os.system")
    assert still_works(worker, children)


def test_what_is_pickled_is_refused(worker: CeleryWorker, redis: RedisServer) -> None:
    children = worker.children()
    danger = b"cposix\nsystem\n(S'true'\ntR."
    push(redis, danger, headers={"task": TASK}, content_type="application/x-python")
    assert still_works(worker, children)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[]", {}),
        (b"{}", {}),
        (b"7", {}),
        (b"null", {}),
        (b'"text"', {}),
        (b"[1, 2, 3, 4]", {}),
        (b'{"args": 7, "kwargs": 7}', {}),
        (b'["text", [], 7]', {}),
        (b"[[], {}, {}]", {"id": None}),
        (b"[[], {}, {}]", {"id": {}}),
        (b"[[], {}, {}]", {"task": [TASK]}),
        (b"[[], {}, {}]", {"task": None}),
        (b"[[], {}, {}]", {"timelimit": "never"}),
        (b"[[], {}, {}]", {"eta": "never", "expires": [], "retries": "many"}),
    ],
)
def test_a_malformed_message_ends_no_worker(
    body: bytes, headers: dict[str, Any], worker: CeleryWorker, redis: RedisServer
) -> None:
    children = worker.children()
    push(redis, body, headers={"task": TASK, **headers})
    assert still_works(worker, children)


@pytest.mark.parametrize(
    "headers",
    [
        {"timelimit": [0.01, 0.01]},
        {"timelimit": [None, 0.01]},
        {"timelimit": ["x", "y"]},
        {"eta": IN_A_YEAR},
        {"expires": LONG_AGO},
        {"eta": "0001-01-01T00:00:00+14:00", "expires": "never"},
        {"retries": "many", "ignore_result": False, "group": 7, "group_index": {}},
        {"stamped_headers": 7, "stamps": 7},
        {"stamped_headers": ["x"], "stamps": {"x": ["y"]}},
        {"root_id": {}, "parent_id": [], "replaced_task_nesting": "deep"},
        {"get": 1, "update": 2, "clear": 3, "is_eager": True, "_protected": 1},
        {"args": 7, "kwargs": 7, "hostname": {}, "utc": {}, "called_directly": True},
    ],
    ids=str,
)
def test_a_header_of_celerys_changes_nothing(
    headers: dict[str, Any], worker: CeleryWorker, redis: RedisServer
) -> None:
    children = worker.children()
    number = park(inside, key="parked", task="nap", seconds=0.1)
    body = json.dumps([[[number], "default"], {}, {}]).encode()
    push(redis, body, headers={"task": TASK, **headers})
    eventually(all_finished)
    assert (effects("inside"), len(runs())) == (["parked"], 1)
    assert Delivery.objects.get().attempts == 1
    assert still_works(worker, children)


@pytest.mark.parametrize("limit", [[None, 0.05], [0.05, None]], ids=["soft", "hard"])
@pytest.mark.parametrize(
    ("sent", "receiver"),
    [(inside, work_inside), (outside, work_outside)],
    ids=["inside", "outside"],
)
def test_a_forged_time_limit_harms_no_healthy_delivery(
    sent: AsyncSignal,
    receiver: Callable[..., object],
    limit: list[float | None],
    worker: CeleryWorker,
    redis: RedisServer,
) -> None:
    """Each message of ours has ten forged ones before it."""
    number = park(sent, key="healthy", task="nap", seconds=0.6)
    body = json.dumps([[[number], "default"], {}, {}]).encode()
    for _ in range(10):
        push(redis, body, headers={"task": name_of(receiver), "timelimit": limit})
    eventually(all_finished)
    assert (states(), len(runs())) == ({"succeeded": 1}, 1)
    assert not Attempt.objects.exists()


@pytest.mark.parametrize(
    "headers", [{}, {"timelimit": None}, {"timelimit": [9999, 9999]}], ids=str
)
def test_a_message_takes_no_time_limit_from_a_receiver(
    headers: dict[str, Any], worker: CeleryWorker, redis: RedisServer
) -> None:
    number = park(timed, key="slow", seconds=60)  # timeout=1
    body = json.dumps([[[number], "default"], {}, {}]).encode()
    push(redis, body, headers={"task": name_of(overrun), **headers})
    eventually(Attempt.objects.exists)
    assert Attempt.objects.earliest("pk").error_type == "SoftTimeLimitExceeded"


@pytest.mark.parametrize(
    "limits",
    [["x", "y"], {"a": 1, "b": 2}, [None, "x"], [1, -1], [1], "no", [1e300, 1]],
)
def test_no_time_limit_of_any_task_ends_a_worker(
    limits: Any, worker: CeleryWorker, redis: RedisServer
) -> None:
    children = worker.children()
    headers = {"task": "celery.accumulate", "timelimit": limits}
    push(redis, b"[[], {}, {}]", headers=headers)
    assert still_works(worker, children)


def test_another_task_that_a_message_has_call_a_receiver_runs_nothing(
    worker: CeleryWorker, redis: RedisServer
) -> None:
    """Celery's own map would run it under the limits of the message."""
    number = park(inside, key="mapped", task="nap", seconds=1)
    kwargs = {"task": {**LOOT, "args": [], "options": {}}, "it": [[number]]}
    for task in ("celery.map", "celery.starmap"):
        body = json.dumps([[], kwargs, {}]).encode()
        push(redis, body, headers={"task": task, "timelimit": [None, 0.5]})
    eventually(lambda: worker.output.count("called by another task") >= 2)
    assert (runs(), Delivery.objects.get().attempts) == ([], 0)


def test_a_message_has_nothing_sent_and_nothing_stored(
    start_worker: StartWorker, redis: RedisServer
) -> None:
    """Not as embedded options, nor as headers, nor in the protocols of old Celery."""
    start_worker(CELERY={"RESULT_BACKEND": redis.url, "TASK_IGNORE_RESULT": False})
    several: dict[str, Any] = {"callbacks": [LOOT], "errbacks": [LOOT]}
    several |= {"chain": [LOOT], "chord": LOOT}
    storing: dict[str, Any] = {"ignore_result": False, "group": "g", "group_index": 0}
    for task in ("", "raise", "reject"):
        for embedded, headers in ((several, storing), ({}, {**several, **storing})):
            number = park(inside, key=f"sent {task}", task=task)
            body = json.dumps([[[number], "default"], {}, embedded]).encode()
            told = {"task": TASK, **headers}
            push(redis, body, headers=told, reply_to="loot", priority="high")
    number = park(inside, key="sent first")
    first: dict[str, Any] = {
        "task": TASK,
        "id": str(uuid.uuid4()),
        "args": [[number], "default"],
    }
    first |= {"kwargs": {}, "taskset": "g"} | several | storing
    push(redis, json.dumps(first).encode(), headers={})
    number = park(inside, key="sent hybrid")
    hybrid = {**first, "id": str(uuid.uuid4()), "args": [[number], "default"]}
    push(redis, json.dumps(hybrid).encode(), headers={"task": TASK})
    eventually(all_finished)
    inside.send(sender=None, key="proof")
    eventually(lambda: "proof" in effects("inside"))
    with redis_client.Redis.from_url(redis.url) as client:
        left = [key.decode() for key in client.scan_iter()]
    assert not [key for key in left if "loot" in key or "meta" in key or "chord" in key]


def test_what_a_message_wants_shown_is_shown_in_one_line(
    worker: CeleryWorker, redis: RedisServer
) -> None:
    forged = "x\n[2030-01-01 00:00:00] CRITICAL all is lost"
    number = park(inside, key="shown")
    body = json.dumps([[[number], "default"], {}, {}]).encode()
    texts = dict.fromkeys(("shadow", "argsrepr", "kwargsrepr", "origin"), forged)
    push(redis, body, headers={"task": TASK, **texts})
    push(redis, body, headers={"task": TASK, "id": forged})
    eventually(all_finished)
    inside.send(sender=None, key="proof")
    eventually(lambda: "proof" in effects("inside"))
    assert "\n[2030" not in worker.output


def test_what_is_pending_for_another_receiver_or_later_does_not_run(
    worker: CeleryWorker, redis: RedisServer
) -> None:
    before = worker.output.count("1 not due")
    later = inside.using(delay=timedelta(hours=1)).send(sender=None, key="later")
    ((_, handle),) = later
    forge(redis, [str(handle.id)], "default")
    forge(redis, [str(handle.id)], "default", task=ANOTHER)
    eventually(lambda: worker.output.count("1 not due") >= before + 2)
    assert runs() == []
    Delivery.objects.filter(pk=handle.id).update(available_at="2020-01-01T00:00Z")
    forge(redis, [str(handle.id)], "default", task=ANOTHER)
    eventually(lambda: worker.output.count("1 not due") >= before + 3)
    assert runs() == []
    forge(redis, [str(handle.id)], "default")
    eventually(all_finished)
    assert effects("inside") == ["later"]
    assert effects("atomic") == []


def test_what_is_finished_does_not_run_again(
    worker: CeleryWorker, redis: RedisServer
) -> None:
    ((_, done),) = inside.send(sender=None, key="done")
    ((_, dead),) = inside.send(sender=None, key="dead", task="reject")
    eventually(all_finished)
    before, ran = worker.output.count("1 not due"), len(runs())
    for handle in (done, dead):
        forge(redis, [str(handle.id)] * 3, "default")
    eventually(lambda: worker.output.count("1 not due") >= before + 2)
    assert len(runs()) == ran
    assert states() == {"succeeded": 1, "dead": 1}


def test_a_message_carries_ids_and_nothing_of_the_event(
    redis: RedisServer, transactional_db: None, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "QUEUE": "unserved"}
    ((_, handle),) = inside.send(sender=None, key="a secret of the event")
    assert publisher.flush(5)
    with redis_client.Redis.from_url(redis.url) as client:
        (raw,) = client.lrange("unserved", 0, -1)
    message = json.loads(raw)
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([[str(handle.id)], "default"], {})
    assert "secret" not in json.dumps(message)
