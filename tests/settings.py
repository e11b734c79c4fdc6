"""Settings of the shop's tests: the shop's own, on other databases and brokers.

The library's tests have ``tests.signal_tasks.settings``; see ``tests.pytest_settings``.
"""

from __future__ import annotations

import os

os.environ.setdefault("DEBUG", "1")

from shop.connections import transport_options
from shop.settings import *  # noqa: F403
from shop.settings import INSTALLED_APPS as SHOP_APPS
from tests.databases import databases

DEBUG = False
SECRET_KEY = "for-tests-only"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
INSTALLED_APPS = [*SHOP_APPS, "tests.testapp"]
DATABASES = databases()
EMAIL_BACKEND = os.environ.get(
    "TEST_EMAIL_BACKEND", "django.core.mail.backends.locmem.EmailBackend"
)
EMAIL_FILE_PATH = os.environ.get("TEST_EMAIL_FILE_PATH", "")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECURE_SSL_REDIRECT = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

REVIEW_DIGEST_SECONDS = 0.001  # due at once, for run_pending()

# No broker unless a test brings one.
CELERY_BROKER_URL = os.environ.get("TEST_BROKER_URL", "memory://")
CELERY_BROKER_TRANSPORT_OPTIONS = transport_options(CELERY_BROKER_URL)

SIGNAL_TASKS = {
    "DATABASES": ["default"],  # tests of several databases say so themselves
    "LEASE": float(os.environ.get("TEST_LEASE", "60")),
    "REPUBLISH_AFTER": float(os.environ.get("TEST_REPUBLISH_AFTER", "5")),
    "RELAY_INTERVAL": float(os.environ.get("TEST_RELAY_INTERVAL", "1")),
}
