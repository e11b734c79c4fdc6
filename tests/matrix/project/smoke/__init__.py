"""A project of nothing but the package, made to be tried out."""

from __future__ import annotations

from smoke.celery import app as celery_app

__all__ = ["celery_app"]
