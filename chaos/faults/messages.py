"""Faults of messages: delivered many times, forged, or malformed."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

from celery import current_app

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import REDIS, fault
from chaos.models import Effect
from chaos.receivers import misbehave_atomically
from chaos.signals import instructed
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery

COPIES = 50
#: A pickle that runs ``os.system("true")`` when it is loaded.
PICKLED = b"cposix\nsystem\n(S'true'\ntR."


def dotted_name(function: Callable[..., object]) -> str:
    """Return the name of a receiver, which is also that of its Celery task."""
    return f"{function.__module__}.{function.__qualname__}"


ATOMIC_TASK = dotted_name(misbehave_atomically)


@fault("every message delivered 50 times", may_spend_attempt=False, may_repeat=False)
def copies(env: Environment) -> None:
    """Send copies of the messages of two deliveries, before, during and after a run."""
    env.wait_until_busy()
    key = f"copies-{env.rng.getrandbits(64)}"
    for handle in _send(key, receiver_fault="sleep briefly"):
        for _ in range(COPIES):
            _send_message(handle.receiver, [str(handle.id)])
    _expect_success(env, key)


@fault("forged messages", may_spend_attempt=False, may_repeat=False)
def forgeries(env: Environment) -> None:
    """Send messages as an attacker with write access to the broker could."""
    env.wait_until_busy()
    key = f"forged-{env.rng.getrandbits(64)}"
    atomic, external = _send(key)
    other_id = str(external.id)  # a delivery of another receiver
    unknown_id = str(uuid.uuid4())
    forged: list[tuple[Any, ...]] = [
        ([unknown_id], "default"),
        ([unknown_id] * 20_000, "default"),
        ([other_id], "default"),
        ([str(atomic.id)], "no such database"),
        ([str(atomic.id)], {"name": "default"}),
        ("not a list", "default"),
        (None, None),
        ([None, 7, 1.5, [], {}, "x" * 10_000, True], "default"),
        ({"ids": [other_id]}, "default"),
        (),
        ([str(atomic.id)], "default", "more", "arguments"),
    ]
    for arguments in forged:
        _send_message(ATOMIC_TASK, *arguments)
    _send_message("os.system", "touch /forged")
    _send_message(dotted_name(process_message), [other_id], "default")
    _expect_success(env, key)
    if dead := [worker.name for worker in env.processes.workers if not worker.alive]:
        raise PromiseBroken(f"forged messages ended {dead}")


@fault("garbage in the queue", brokers=[REDIS], may_spend_attempt=False, short=False)
def garbage(env: Environment) -> None:
    """Put pickled and malformed messages into the queue."""
    env.wait_until_busy()
    key = f"garbage-{env.rng.getrandbits(64)}"
    _send(key)
    _push(env, PICKLED, "application/x-python-serialize")
    for body in (b"[]", b"{}", b"7", b"null"):
        message_id = str(uuid.uuid4())
        _push(env, body, "application/json", task=ATOMIC_TASK, id=message_id)
    _expect_success(env, key)
    if dead := [worker.name for worker in env.processes.workers if not worker.alive]:
        raise PromiseBroken(f"garbage ended {dead}")


def _push(env: Environment, body: bytes, content_type: str, **headers: str) -> None:
    """Put a message with any body into Redis, in kombu's format."""
    properties = {"delivery_tag": str(uuid.uuid4()), "body_encoding": "base64"}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-type": content_type,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {**properties, "delivery_info": {}},
    }
    env.push(json.dumps(message))


def _send(key: str, receiver_fault: str = "") -> list[Any]:
    """Send an event; return the handles of its atomic and non-atomic delivery."""
    responses = instructed.send(None, key=key, fault=receiver_fault)
    return [handle for _, handle in responses]


def _send_message(task: str, *arguments: object) -> None:
    current_app.send_task(task, args=arguments)


def _expect_success(env: Environment, key: str) -> None:
    """Wait until both deliveries succeed; raise unless each ran exactly once."""
    deliveries = Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')
    succeeded = deliveries.filter(state="succeeded", attempts=1)
    env.wait_until(
        lambda: succeeded.count() == len(deliveries),
        f"success of {key}",
        min(30, env.patience),
    )
    env.wait(1)  # for copies that arrive after the delivery has finished
    effects = Effect.objects.filter(kind="instructed", key=key).count()
    runs = env.run_pids(key)
    if (effects, len(runs)) != (1, 1):
        raise PromiseBroken(f"{key}: {effects} atomic and {len(runs)} external effects")
