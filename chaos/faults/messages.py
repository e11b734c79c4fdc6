"""Faults of messages: delivered again and again, or forged by a stranger."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from celery import current_app

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import REDIS, fault
from chaos.models import Effect
from chaos.signals import ordered
from signal_tasks.models import Delivery

COPIES = 50
#: ``os.system("true")``, to whoever unpickles it.
PICKLED = b"cposix\nsystem\n(S'true'\ntR."
INSIDE, OUTSIDE = "chaos.receivers.obey_inside", "chaos.receivers.obey_outside"


@fault("every message delivered 50 times", may_spend_attempt=False, may_repeat=False)
def copies(env: Environment) -> None:
    """Send copies of the messages of two deliveries, before, while and after."""
    env.wait_until_busy()
    key = f"copies-{env.rng.getrandbits(64)}"
    for handle in _send(key, task="doze"):
        for _ in range(COPIES):
            _ring(handle.receiver, [str(handle.id)])
    _expect_success(env, key)


@fault("forged messages", may_spend_attempt=False, may_repeat=False)
def forgeries(env: Environment) -> None:
    """Send what a stranger could who can write to the broker."""
    env.wait_until_busy()
    key = f"forged-{env.rng.getrandbits(64)}"
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
    _expect_success(env, key)
    if dead := [worker.name for worker in env.processes.workers if not worker.alive]:
        raise PromiseBroken(f"forged messages ended {dead}")


@fault("garbage in the queue", brokers=[REDIS], may_spend_attempt=False, short=False)
def garbage(env: Environment) -> None:
    """Put into the queue what is no message of Celery's: pickled, and misshapen."""
    env.wait_until_busy()
    key = f"garbage-{env.rng.getrandbits(64)}"
    _send(key)
    _push(env, PICKLED, "application/x-python-serialize")
    for body in (b"[]", b"{}", b"7", b"null"):
        _push(env, body, "application/json", task=INSIDE, id=str(uuid.uuid4()))
    _expect_success(env, key)
    if dead := [worker.name for worker in env.processes.workers if not worker.alive]:
        raise PromiseBroken(f"garbage ended {dead}")


def _push(env: Environment, body: bytes, content_type: str, **headers: str) -> None:
    """Put a message into Redis as kombu would, whatever is in it."""
    properties = {"delivery_tag": str(uuid.uuid4()), "body_encoding": "base64"}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-type": content_type,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {**properties, "delivery_info": {}},
    }
    env.push(json.dumps(message))


def _send(key: str, task: str = "") -> list[Any]:
    """The handles of the deliveries to ``obey_inside`` and ``obey_outside``."""
    responses = ordered.send(None, key=key, task=task)
    return [handle for _, handle in responses]


def _ring(task: str, *arguments: object) -> None:
    current_app.send_task(task, args=arguments)


def _expect_success(env: Environment, key: str) -> None:
    owed = Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')
    ended = owed.filter(state="succeeded", attempts=1)
    env.wait_until(
        lambda: ended.count() == len(owed), f"success of {key}", min(30, env.patience)
    )
    env.wait(1)  # for the copies that come after the end
    effects = Effect.objects.filter(what="obeyed", key=key).count()
    runs = env.runs(key)
    if (effects, len(runs)) != (1, 1):
        raise PromiseBroken(f"{key}: {effects} effects inside and {len(runs)} outside")
