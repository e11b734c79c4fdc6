"""Settings of a project that has the dashboard, the admin, and a large outbox."""

from __future__ import annotations

import os
from typing import Any

import environ

SECRET_KEY = "for-benchmarks-only"  # noqa: S105
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "benchmarks.volume.urls"
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
_default: dict[str, Any] = environ.Env.db_url_config(os.environ["VOLUME_DATABASE_URL"])
DATABASES = {"default": {**_default, "CONN_MAX_AGE": 600}}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "signal_tasks",
    "signal_tasks.dashboard",
    "benchmarks.volume",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
CELERY_BROKER_URL = "memory://"
CELERY_TASK_DEFAULT_QUEUE = "celery"
