"""The worker as tuned as the reference's; the relay as documented, with big batches."""

from __future__ import annotations

APPS = ["django_celery_outbox"]
CELERY_OUTBOX_APP = "benchmarks.contenders.celery_outbox.celery_app.app"
CELERY_WORKER_PREFETCH_MULTIPLIER = 64
CELERY_DB_REUSE_MAX = 1_000_000
