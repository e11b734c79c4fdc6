"""Settings of all processes of the fault suite; environment variables vary them.

The times of ``signal_tasks`` are shortened: a minute in a deployment is about a second
here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from chaos.connections import database_entry, transport_options

FOLDER = Path(os.environ.get("CHAOS_FOLDER", "."))
DEBUG = False
SECRET_KEY = "only-for-the-fault-suite"  # noqa: S105 - guards nothing
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "chaos.web"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "signal_tasks", "chaos"]
DATABASES = {
    "default": database_entry(os.environ.get("CHAOS_DATABASE", "sqlite://:memory:"))
}

CELERY_BROKER_URL = os.environ.get("CHAOS_BROKER", "memory://")
CELERY_BROKER_TRANSPORT_OPTIONS = transport_options(CELERY_BROKER_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "chaos"
CELERY_TASK_DEFAULT_QUEUE_TYPE = os.environ.get("CHAOS_QUEUE_TYPE", "classic")
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

#: Longer on SQLite: on a busy machine a process waits for its only lock for seconds.
LEASE = 5.0 if DATABASES["default"]["ENGINE"].endswith("sqlite3") else 1.5

SIGNAL_TASKS: dict[str, Any] = {
    "LEASE": LEASE,
    "RELAY_INTERVAL": 0.2,
    "REPUBLISH_AFTER": 1.0,
    "REPUBLISH_MAX": 10.0,
    "BREAKER_SECONDS": 1.0,
    **json.loads(os.environ.get("CHAOS_SIGNAL_TASKS", "{}")),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
