"""The Celery app of the project that is tried."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "smoke.settings")

app = Celery("smoke")
app.config_from_object("django.conf:settings", namespace="CELERY")
