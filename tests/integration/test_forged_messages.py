"""Forged messages run nothing but deliveries that are pending and due.

The tests write them into Redis themselves, in the form of Celery's protocol.
"""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_client

from signal_tasks.broker.publisher import publisher
from signal_tasks.models import Delivery
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    runs,
    states,
)
from tests.servers import RedisServer
from tests.testapp.receivers import note_atomically, work_inside
from tests.testapp.signals import inside

TASK = f"{work_inside.__module__}.{work_inside.__qualname__}"
ANOTHER = f"{note_atomically.__module__}.{note_atomically.__qualname__}"


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
        },
    }
    with redis_client.Redis.from_url(server.url) as client:
        client.lpush("tests", json.dumps(message))


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
