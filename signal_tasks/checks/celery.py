"""Checks of the Celery app: its broker, its queues, its workers."""

from __future__ import annotations

from collections.abc import Collection

from django.core import checks

from signal_tasks.broker import config
from signal_tasks.checks.messages import Messages
from signal_tasks.delivery.tasks import not_taken_over


def celery_app_is_set() -> Messages:
    """W001: no Celery app, so nothing knows where the broker is."""
    if config.app_is_missing():
        yield checks.Warning(
            "No Celery app is set in this process; events would be published to "
            "Celery's default broker, amqp://localhost.",
            hint="Import your Celery app in the project's __init__.py, as in: "
            "from mysite.celery import app as celery_app.",
            id="signal_tasks.W001",
        )


def broker_is_named() -> Messages:
    """W014: no broker is named, so Celery looks for RabbitMQ on this machine."""
    if config.app_is_missing() or config.is_eager():
        return  # W001 and W002 tell of these
    if config.broker_is_unnamed():
        yield checks.Warning(
            "No broker is named, so Celery takes amqp://guest@localhost.",
            hint='Set CELERY_BROKER_URL, e.g. "redis://127.0.0.1:6379/0". If it is set, '
            "the Celery app does not read it: app.config_from_object("
            '"django.conf:settings", namespace="CELERY").',
            id="signal_tasks.W014",
        )


def messages_can_be_read() -> Messages:
    """W009: workers refuse the messages of receivers, and nothing would ever run."""
    refused = config.unreadable_receivers()
    if refused:
        yield checks.Warning(
            "Celery's workers refuse the messages of receivers, because accept_content "
            f"has not {' and '.join(sorted(set(refused.values())))}: {_some(refused)}.",
            hint='Add "json" to CELERY_ACCEPT_CONTENT. Receivers are always sent as '
            "JSON, whatever task_serializer says, unless task_annotations say more.",
            id="signal_tasks.W009",
        )


def messages_can_be_routed() -> Messages:
    """W012: messages of a receiver cannot be made or routed in this process."""
    for name, error in config.unroutable_receivers():
        yield checks.Warning(
            f"Messages for {name} cannot be published, so its deliveries would be "
            f"parked: {type(error).__name__}: {error}",
            hint="See CELERY_TASK_ROUTES, CELERY_TASK_QUEUES and "
            "CELERY_TASK_COMPRESSION.",
            id="signal_tasks.W012",
        )


def default_queue_is_served() -> Messages:
    """W013: a worker that is told of no queues would not serve the receivers'."""
    queue = config.unserved_queue()
    if queue is not None:
        yield checks.Warning(
            f"Receivers without a queue use {queue!r}, Celery's default queue, which "
            "CELERY_TASK_QUEUES leaves out: a worker without -Q does not serve it.",
            hint='Name one that is served with SIGNAL_TASKS["QUEUE"], add this one, '
            "or silence this check and start a worker with -Q.",
            id="signal_tasks.W013",
        )


def tasks_are_not_eager() -> Messages:
    """W002: eager tasks run receivers in the sender's process."""
    if config.is_eager():
        yield checks.Warning(
            "CELERY_TASK_ALWAYS_EAGER runs receivers in the sender's process after "
            "its commit; retries and delays then wait for a worker.",
            hint="Unset it but in tests; signal_tasks.testing.run_pending() needs no "
            "broker either.",
            id="signal_tasks.W002",
        )


def content_is_json() -> Messages:
    """W005: a worker that accepts pickle runs code of whoever writes to the broker."""
    accepted = config.unsafe_content()
    if accepted:
        yield checks.Warning(
            f"Celery accepts {', '.join(accepted)} messages, with which whoever can "
            "write to the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"].',
            id="signal_tasks.W005",
        )


def worker_outlives_outages() -> Messages:
    """W006: a worker gives up when the broker stays away."""
    if config.reconnects_are_bounded() and not config.app_is_missing():
        yield checks.Warning(
            "A Celery worker ends when its broker stays away for long "
            "(broker_connection_max_retries).",
            hint="Set CELERY_BROKER_CONNECTION_MAX_RETRIES = None, or make sure that "
            "a supervisor starts workers again.",
            id="signal_tasks.W006",
        )


def worker_consumer_survives() -> Messages:
    """W007: celery 5.7.0 with Redis and a consumer of the project's own."""
    if config.consumer_may_die():
        yield checks.Warning(
            "With celery 5.7.0 on Redis a worker ends when Redis goes away; "
            "signal_tasks mends that only for Celery's own consumer, and "
            "worker_consumer names another.",
            hint="Derive it from signal_tasks.worker.consumer.ResilientConsumer.",
            id="signal_tasks.W007",
        )


def task_class_leaves_receivers_alone() -> Messages:
    """W011: the project's Celery task class defines what receivers do without."""
    if lost := not_taken_over():
        yield checks.Warning(
            "The task class of the Celery app (task_cls) defines "
            f"{', '.join(lost)}; the tasks of receivers do without, because their "
            "rows decide when they are run and again.",
            hint="Carry what it carries with a class in SIGNAL_TASKS['CONTEXT'], and "
            "silence this check.",
            id="signal_tasks.W011",
        )


def _some(names: Collection[str]) -> str:
    first = sorted(names)[:3]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


ALL = (
    celery_app_is_set,
    broker_is_named,
    messages_can_be_read,
    messages_can_be_routed,
    default_queue_is_served,
    tasks_are_not_eager,
    content_is_json,
    worker_outlives_outages,
    worker_consumer_survives,
    task_class_leaves_receivers_alone,
)
