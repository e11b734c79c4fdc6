"""Two workers that are not recycled, no results kept; tasks fetched in bulk."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

APPS = ["django_q"]
_redis = urlsplit(os.environ["BENCH_REDIS_URL"])
Q_CLUSTER = {
    "name": "benchmarks",
    "workers": 2,
    "recycle": 1_000_000,
    "save_limit": -1,
    "queue_limit": 128,
    "bulk": 16,
    "timeout": 60,
    "retry": 120,
    "log_level": "WARNING",
    "redis": {
        "host": _redis.hostname,
        "port": _redis.port,
        "db": int(_redis.path.lstrip("/")),
    },
}
