"""The project of the tutorial; every process of it has the Celery app."""

from mysite.celery import app as celery_app

__all__ = ["celery_app"]
