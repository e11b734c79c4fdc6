"""Settings of the project, with what the run tells it."""

from __future__ import annotations

import json
import os
import warnings

# What Django, Celery or Python will drop must not be used by the package.
warnings.filterwarnings("error", module=r"signal_tasks(\.|$)")

DATABASES = {"default": json.loads(os.environ["SMOKE_DATABASE"])}
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    # The page of the documentation says why it does no harm.
    SILENCED_SYSTEM_CHECKS = ["mysql.W003"]
if os.environ["SMOKE_DRIVER"] == "PyMySQL":
    import pymysql

    pymysql.version_info = (2, 2, 8, "final", 0)  # Django asks for mysqlclient's
    pymysql.install_as_MySQLdb()

CELERY_BROKER_URL = os.environ["SMOKE_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None

SECRET_KEY = "smoke"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "smoke.urls"
STATIC_URL = "static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "signal_tasks",
    "signal_tasks.dashboard",
    "smoke",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
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
            ]
        },
    }
]
