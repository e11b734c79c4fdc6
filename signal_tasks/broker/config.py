"""Read what the project's Celery app is set to."""

from __future__ import annotations

import celery
from celery import current_app
from django.core.signals import setting_changed


def app_is_missing() -> bool:
    """Return True if Celery made up an app because the project has set none."""
    return current_app.main in (None, "default") and not current_app.conf.broker_url


def unsafe_content() -> list[str]:
    """Return the accepted content types with which a message can run code."""
    return sorted(
        {"pickle", "application/x-python-serialize"}
        & set(current_app.conf.accept_content)
    )


def reconnects_are_bounded() -> bool:
    """Return True if a worker gives up when the broker stays away."""
    return current_app.conf.broker_connection_max_retries is not None


def consumer_may_die() -> bool:
    """Return True for celery 5.7.0 on Redis with a consumer of the project's own."""
    redis = str(current_app.conf.broker_url or "").startswith(("redis", "sentinel"))
    own = current_app.conf.worker_consumer != "celery.worker.consumer:Consumer"
    return celery.__version__ == "5.7.0" and redis and own


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
