"""Settings of the measured project: the same for all, then what one contender adds."""

from __future__ import annotations

import importlib
import json
import os

CONTENDER = os.environ["BENCH_CONTENDER"]
REDIS_URL = os.environ["BENCH_REDIS_URL"]

SECRET_KEY = "for-benchmarks-only"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["benchmarks.project"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["BENCH_PG_HOST"],
        "PORT": os.environ["BENCH_PG_PORT"],
        "NAME": os.environ["BENCH_PG_NAME"],
        "USER": "postgres",
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
}

# Celery, for contenders that use it: late acknowledgement and no results, as is right
# for work that must not be lost.
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

_contender = importlib.import_module(f"benchmarks.contenders.{CONTENDER}.settings")
INSTALLED_APPS += getattr(_contender, "APPS", [])
globals().update(json.loads(os.environ.get("BENCH_SETTINGS", "{}")))
globals().update(
    {name: value for name, value in vars(_contender).items() if name.isupper()}
)
