"""Faults of messages: delivered many times, forged, or malformed."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import current_app
from django.conf import settings

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import REDIS, fault
from chaos.models import Effect
from chaos.receivers import misbehave_atomically, misbehave_externally
from chaos.signals import instructed
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery

COPIES = 50
#: Times that forged messages are sent for deliveries that are not done yet.
MAX_ROUNDS = 200
#: A pickle that runs ``os.system("true")`` when it is loaded.
PICKLED = b"cposix\nsystem\n(S'true'\ntR."


def dotted_name(function: Callable[..., object]) -> str:
    """Return the name of a receiver, which is also that of its Celery task."""
    return f"{function.__module__}.{function.__qualname__}"


ATOMIC_TASK = dotted_name(misbehave_atomically)
EXTERNAL_TASK = dotted_name(misbehave_externally)
FURTHER_TASK = {"task": ATOMIC_TASK, "args": [[], "default"], "kwargs": {}}
IN_A_YEAR, LONG_AGO = "2099-01-01T00:00:00+00:00", "2001-01-01T00:00:00+00:00"
#: Headers that Celery acts upon, each as an attacker would set it.
FORGED_HEADERS: list[dict[str, Any]] = [
    {"timelimit": [None, 0.01]},
    {"timelimit": [0.01, None]},
    {"timelimit": ["x", "y"]},
    {"eta": IN_A_YEAR},
    {"expires": LONG_AGO},
    {"eta": "never", "expires": "never", "retries": "many"},
    {"ignore_result": False, "group": "g", "group_index": 0, "taskset": "g"},
    {"callbacks": [FURTHER_TASK], "errbacks": [FURTHER_TASK], "chain": [FURTHER_TASK]},
    {"chord": FURTHER_TASK, "replaced_task_nesting": 9, "shadow": "two\nlines"},
    {"stamped_headers": ["x"], "stamps": {"x": ["y"]}},
    {"root_id": "x" * 1000, "parent_id": "x" * 1000, "reply_to": "chaos"},
    {"is_eager": True, "called_directly": True, "get": 1, "update": 1, "clear": 1},
]
#: Options embedded in a body.
FORGED_OPTIONS: dict[str, Any] = {
    "callbacks": [FURTHER_TASK],
    "errbacks": [FURTHER_TASK],
    "chain": [FURTHER_TASK],
    "chord": FURTHER_TASK,
}
#: Time limits of any task, with which a pool's timer ends.
MALFORMED_LIMITS = [["x", "y"], {"a": 1, "b": 2}, [None, "x"], [1e300, 1]]


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
    _expect_alive(env, "forged messages")


@fault("forged headers and options", may_spend_attempt=False, may_repeat=False)
def forged_options(env: Environment) -> None:
    """Set all that Celery acts upon, each in messages for two deliveries of its own.

    They are sent over and over until the deliveries are due and done, so that a forged
    one arrives before ours.
    """
    env.wait_until_busy()
    sent = instructed.using(delay=0.5)
    keys: list[str] = []
    for number, forge in enumerate(FORGERIES):
        keys.append(f"options-{number}-{env.rng.getrandbits(64)}")
        handles = sent.send(None, key=keys[-1], fault="sleep briefly")
        _forge_until_done(env, forge, [handle for _, handle in handles])
    for limits in MALFORMED_LIMITS:
        _publish("celery.accumulate", [], {"timelimit": limits})
    _expect_success(env, *keys)
    _expect_alive(env, "forged options")


def _forge_until_done(env: Environment, forge: Forge, handles: list[Any]) -> None:
    live = Delivery.objects.live().filter(pk__in=[handle.id for handle in handles])
    for _ in range(MAX_ROUNDS):
        for task, handle in zip((ATOMIC_TASK, EXTERNAL_TASK), handles, strict=True):
            forge(task, [str(handle.id)])
        env.wait(0.02)
        if not live.exists():
            break


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
    _expect_alive(env, "garbage")


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


def _publish(
    task: str,
    argument: object,
    headers: dict[str, Any],
    options: dict[str, Any] | None = None,
    **kwargs: object,
) -> None:
    """Publish a message of Celery's protocol with any headers and options."""
    number = str(uuid.uuid4())
    arguments = [argument] if kwargs else [argument, "default"]
    with current_app.producer_or_acquire() as producer:
        producer.publish(
            [arguments, kwargs, options or {}],
            serializer="json",
            routing_key=str(settings.CELERY_TASK_DEFAULT_QUEUE),
            headers={"task": task, "id": number, "lang": "py", **headers},
            correlation_id=number,
            reply_to="chaos",
            priority=9,
        )


def _map(task: str, ids: list[str]) -> None:
    """Have one of Celery's own tasks call the task, under a time limit."""
    mapped = {**FURTHER_TASK, "task": task, "args": []}
    _publish("celery.map", mapped, {"timelimit": [None, 0.01]}, it=[ids])


#: Publishes a forged message for some deliveries of a task.
Forge = Callable[[str, list[str]], None]
FORGERIES: list[Forge] = [
    *(partial(_publish, headers=headers) for headers in FORGED_HEADERS),
    partial(_publish, headers={}, options=FORGED_OPTIONS),
    _map,
]


def _expect_alive(env: Environment, what: str) -> None:
    if dead := [worker.name for worker in env.processes.workers if not worker.alive]:
        raise PromiseBroken(f"{what} ended {dead}")


def _expect_success(env: Environment, *keys: str) -> None:
    """Wait until all deliveries succeed; raise unless each ran exactly once."""
    for key in keys:
        deliveries = Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')
        env.expect(
            partial(_have_succeeded, deliveries),
            f"success of {key}",
            min(30, env.patience),
        )
    env.wait(1)  # for copies that arrive after the delivery has finished
    for key in keys:
        effects = Effect.objects.filter(kind="instructed", key=key).count()
        runs = env.run_pids(key)
        if (effects, len(runs)) != (1, 1):
            found = f"{effects} atomic and {len(runs)} external effects"
            raise PromiseBroken(f"{key}: {found}")


def _have_succeeded(deliveries: Any) -> bool:
    return not deliveries.exclude(state="succeeded", attempts=1).exists()
