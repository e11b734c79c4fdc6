# mypy: disable-error-code="import-not-found, untyped-decorator, misc, no-any-return"
"""The Celery application whose messages go through the outbox."""

from __future__ import annotations

from django_celery_outbox import OutboxCelery

app = OutboxCelery("benchmarks")
app.config_from_object("django.conf:settings", namespace="CELERY")
