"""Celery as fast as its documented settings make it for short tasks."""

from __future__ import annotations

CELERY_WORKER_PREFETCH_MULTIPLIER = 64
# Without it Celery closes the database connection before and after every task.
CELERY_DB_REUSE_MAX = 1_000_000
