"""Read what the project's Celery app is set to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import celery
from celery import current_app
from celery.app import app_or_default
from django.core.signals import setting_changed
from kombu.compression import get_encoder
from kombu.serialization import registry as serializers
from kombu.utils.url import maybe_sanitize_url

from signal_tasks.conf import settings
from signal_tasks.registry.registry import Receiver, registry

#: The names under which modules hold a Celery app.
APP_NAMES = ("celery_app", "app", "celery")


def app_is_missing() -> bool:
    """Return True if Celery made up an app because the project has set none."""
    return current_app.main in (None, "default") and not current_app.conf.broker_url


def broker_is_unnamed() -> bool:
    """Return True if neither settings nor environment name a broker.

    Celery then takes RabbitMQ on this machine, amqp://guest@localhost.
    """
    conf = current_app.conf
    named = (conf.broker_url, conf.broker_write_url, conf.get("broker_host"))
    return not any(named)


def broker_address() -> str:
    """Return the address of the broker, or of each of them, without passwords."""
    url = current_app.conf.broker_write_url
    urls = url.split(";") if isinstance(url, str) else url or ()
    return ", ".join(maybe_sanitize_url(each) for each in urls)


def app_module() -> str | None:
    """Return the shortest name of a module that holds the current Celery app.

    It is what ``celery -A`` takes. None if no module that was imported holds it.
    """
    app = app_or_default()
    names = [
        name
        for name, module in sys.modules.copy().items()
        if name.partition(".")[0] not in ("celery", "__main__", "__mp_main__")
        and any(getattr(module, "__dict__", {}).get(key) is app for key in APP_NAMES)
    ]
    return min(names, key=lambda name: (len(name), name), default=None)


def celery_command() -> str:
    """Return how ``celery`` is called for the current app."""
    return f"celery -A {app_module() or '<app>'}"


def unsafe_content() -> list[str]:
    """Return the accepted content types with which a message can run code."""
    return sorted(
        {"pickle", "application/x-python-serialize"}
        & set(current_app.conf.accept_content)
    )


def unreadable_receivers() -> dict[str, str]:
    """Return the receivers whose messages no worker accepts, with their serializer."""
    types = serializers.name_to_type
    accepted = {types.get(each, each) for each in current_app.conf.accept_content}
    named = {each.name: _task_of(each).serializer for each in registry.receivers()}
    return {
        name: serializer
        for name, serializer in named.items()
        if types.get(serializer) not in accepted
    }


def unroutable_receivers() -> Iterator[tuple[str, BaseException]]:
    """Yield the receivers whose messages cannot be made or routed, with the error."""
    for receiver in registry.receivers():
        task = _task_of(receiver)
        try:
            _route(receiver)
            compression = getattr(task, "compression", None)
            if compression or current_app.conf.task_compression:
                get_encoder(compression or current_app.conf.task_compression)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - routes raise what they like
            yield receiver.name, error


def unserved_queue() -> str | None:
    """Return the default queue if receivers use it and ``task_queues`` leaves it out.

    A worker without ``-Q`` serves the queues that receivers name, and these.
    """
    default = current_app.conf.task_default_queue
    if not current_app.conf.task_queues or settings().QUEUE is not None:
        return None
    if default in _queues():
        return None
    unnamed = [each for each in registry.receivers() if each.queue is None]
    return default if any(_route(each) == default for each in unnamed) else None


def _route(receiver: Receiver) -> str:
    """Return the name of the queue for this receiver's messages.

    With queues of its own: Celery's router adds what is missing, and a worker would
    serve it.
    """
    options = {} if receiver.queue is None else {"queue": receiver.queue}
    task = _task_of(receiver)
    route = current_app.amqp.Router(_queues()).route(
        options, receiver.name, args=([], "default"), task_type=task
    )
    default: str = current_app.conf.task_default_queue
    return getattr(route.get("queue"), "name", default)


def _queues() -> Any:
    return current_app.amqp.Queues(current_app.conf.task_queues)


def _task_of(receiver: Receiver) -> celery.Task:
    return current_app.tasks[receiver.name]


def reconnects_are_bounded() -> bool:
    """Return True if a worker gives up when the broker stays away."""
    return current_app.conf.broker_connection_max_retries is not None


def consumer_may_die() -> bool:
    """Return True for celery 5.7.0 on Redis with a consumer of the project's own."""
    redis = str(current_app.conf.broker_url or "").startswith(("redis", "sentinel"))
    own = current_app.conf.worker_consumer != "celery.worker.consumer:Consumer"
    return celery.__version__ == "5.7.0" and redis and own


def queue_of(receiver: Receiver) -> str | None:
    """Return the queue of a receiver's messages.

    None if its route leads to an exchange, or is of no use.
    """
    given = {} if receiver.queue is None else {"queue": receiver.queue}
    try:
        router = current_app.amqp.Router(_queues())  # not shared: see ``_route``
        queue = router.route(given, receiver.name).get("queue")
    # Routers are the project's own. What they raise is told where it does harm.
    except Exception:  # noqa: BLE001
        return None
    name: str | None = getattr(queue, "name", queue)
    return name


def load_transport() -> None:
    """Import the client library of the broker, before this process is forked.

    A pool's processes then share it; importing it costs each twelve megabytes.
    """
    current_app.connection_for_write().transport  # noqa: B018 - made when looked at


def is_eager() -> bool:
    """Return True if Celery is set to run tasks in the process that sends them.

    Every send asks, and Celery needs up to 30 microseconds to look through its
    layers: the answer is kept until the app, an assignment to its ``conf``, or
    Django's settings change.
    """
    global _eager
    conf = current_app.conf
    changes = conf.changes
    version = (_settings_version, len(changes), changes.get("task_always_eager"))
    if _eager is None or _eager[0] is not conf or _eager[1] != version:
        _eager = (conf, version, bool(conf.task_always_eager))
    return _eager[2]


_eager: tuple[object, tuple[object, ...], bool] | None = None
_settings_version = 0


def _settings_changed(**_: object) -> None:
    global _settings_version
    _settings_version += 1


setting_changed.connect(_settings_changed, dispatch_uid="signal_tasks.broker")
