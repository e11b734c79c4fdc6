"""Faults of messages: delivered again and again, or forged by a stranger."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from celery import current_app

from chaos.faults.catalogue import REDIS, fault
from chaos.models import Effect
from chaos.signals import ordered
from chaos.stage import Broken, Stage
from signal_tasks.models import Delivery

COPIES = 50
#: ``os.system("true")``, to whoever unpickles it.
PICKLED = b"cposix\nsystem\n(S'true'\ntR."
INSIDE, OUTSIDE = "chaos.receivers.obey_inside", "chaos.receivers.obey_outside"


@fault("every message delivered 50 times", spends=False, repeats=False)
def copies(stage: Stage) -> None:
    """Send copies of the messages of two deliveries, before, while and after."""
    stage.until_busy()
    key = f"copies-{stage.rng.getrandbits(64)}"
    for handle in _send(key, task="doze"):
        for _ in range(COPIES):
            _ring(handle.receiver, [str(handle.id)])
    _expect_success(stage, key)


@fault("forged messages", spends=False, repeats=False)
def forgeries(stage: Stage) -> None:
    """Send what a stranger could who can write to the broker."""
    stage.until_busy()
    key = f"forged-{stage.rng.getrandbits(64)}"
    inside, outside = _send(key)
    others_id = str(outside.id)
    nobody = str(uuid.uuid4())
    forged: list[tuple[Any, ...]] = [
        ([nobody], "default"),
        ([nobody] * 20_000, "default"),
        ([others_id], "default"),  # a delivery of another receiver
        ([str(inside.id)], "no such database"),
        ([str(inside.id)], {"name": "default"}),
        ("not a list", "default"),
        (None, None),
        ([None, 7, 1.5, [], {}, "x" * 10_000, True], "default"),
        ({"ids": [others_id]}, "default"),
        (),
        ([str(inside.id)], "default", "more", "arguments"),
    ]
    for arguments in forged:
        _ring(INSIDE, *arguments)
    _ring("os.system", "touch /forged")
    _ring("signal_tasks.delivery.work_off", [others_id], "default")
    _expect_success(stage, key)
    if dead := [worker.name for worker in stage.crew.workers if not worker.alive]:
        raise Broken(f"forged messages ended {dead}")


@fault("garbage in the queue", brokers=[REDIS], spends=False, short=False)
def garbage(stage: Stage) -> None:
    """Put into the queue what is no message of Celery's: pickled, and misshapen."""
    stage.until_busy()
    key = f"garbage-{stage.rng.getrandbits(64)}"
    _send(key)
    _push(stage, PICKLED, "application/x-python-serialize")
    for body in (b"[]", b"{}", b"7", b"null"):
        _push(stage, body, "application/json", task=INSIDE, id=str(uuid.uuid4()))
    _expect_success(stage, key)
    if dead := [worker.name for worker in stage.crew.workers if not worker.alive]:
        raise Broken(f"garbage ended {dead}")


def _push(stage: Stage, body: bytes, content_type: str, **headers: str) -> None:
    """Put a message into Redis as kombu would, whatever is in it."""
    properties = {"delivery_tag": str(uuid.uuid4()), "body_encoding": "base64"}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-type": content_type,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {**properties, "delivery_info": {}},
    }
    stage.push(json.dumps(message))


def _send(key: str, task: str = "") -> list[Any]:
    """The handles of the deliveries to ``obey_inside`` and ``obey_outside``."""
    responses = ordered.send(None, key=key, task=task)
    return [handle for _, handle in responses]


def _ring(task: str, *arguments: object) -> None:
    current_app.send_task(task, args=arguments)


def _expect_success(stage: Stage, key: str) -> None:
    owed = Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')
    ended = owed.filter(state="succeeded", attempts=1)
    stage.until(
        lambda: ended.count() == len(owed), f"success of {key}", min(30, stage.patience)
    )
    stage.wait(1)  # for the copies that come after the end
    effects = Effect.objects.filter(what="obeyed", key=key).count()
    runs = stage.runs(key)
    if (effects, len(runs)) != (1, 1):
        raise Broken(f"{key}: {effects} effects inside and {len(runs)} outside")
