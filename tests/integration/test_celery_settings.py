"""Receivers run whatever Celery's settings say, as far as ``check`` has no objections."""

from __future__ import annotations

from tests.integration.conftest import StartWorker
from tests.integration.workers import all_finished, effects, eventually, python
from tests.servers import RedisServer

#: All of them at once; docs/reference/checks.md lists what does harm.
UNUSUAL = {
    "TASK_PROTOCOL": 1,
    "TASK_COMPRESSION": "gzip",
    "TASK_SERIALIZER": "pickle",
    "TASK_DEFAULT_EXCHANGE": "of-our-own",
    "TASK_DEFAULT_EXCHANGE_TYPE": "topic",
    "TASK_DEFAULT_ROUTING_KEY": "another",
    "TASK_DEFAULT_PRIORITY": 3,
    "TASK_QUEUE_MAX_PRIORITY": 5,
    "TASK_INHERIT_PARENT_PRIORITY": True,
    "TASK_ANNOTATIONS": {"*": {"countdown": 3600, "expires": 1, "acks_late": False}},
    "TASK_DEFAULT_RATE_LIMIT": "0",
    "TASK_IGNORE_RESULT": False,
    "TASK_TRACK_STARTED": True,
    "TASK_SEND_SENT_EVENT": True,
    "TASK_REJECT_ON_WORKER_LOST": True,
    "ACCEPT_CONTENT": ["application/json"],
    "ENABLE_UTC": False,
    "TIMEZONE": "Asia/Tokyo",
    "WORKER_DIRECT": True,
    "WORKER_DISABLE_PREFETCH": True,
    "WORKER_SEND_TASK_EVENTS": True,
}
SEND = """
from tests.testapp.signals import happened
happened.send(sender=None, key="k")
"""


def test_unusual_settings_of_celery_do_no_harm(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker(CELERY=UNUSUAL, SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    done = python(SEND, redis.url, CELERY=UNUSUAL)
    assert done.returncode == 0, done.stderr
    eventually(all_finished)
    assert effects("atomic") == effects("outside") == ["k"]
