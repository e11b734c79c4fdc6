"""Tests of the library; importing them makes their Celery application the current one."""

from __future__ import annotations

from tests.signal_tasks.celery_app import app as celery_app

__all__ = ["celery_app"]
