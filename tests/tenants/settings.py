"""Settings of a project with django-tenants, on the server of the test run."""

from __future__ import annotations

import os

import environ

SECRET_KEY = "for-tests-only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SHARED = ["django_tenants", "tests.tenants.customers", "signal_tasks"]
OF_TENANTS = ["django.contrib.contenttypes", "tests.tenants.notes"]
#: A mistake that the tests make on purpose: an outbox in each tenant's schema.
if "TENANTS_HAVE_OUTBOXES" in os.environ:
    OF_TENANTS = [*OF_TENANTS, "signal_tasks"]
SHARED_APPS = [*SHARED, "django.contrib.contenttypes"]
TENANT_APPS = OF_TENANTS
INSTALLED_APPS = [*SHARED_APPS, *(app for app in OF_TENANTS if app not in SHARED_APPS)]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
TENANT_LIMIT_SET_CALLS = "TENANT_LIMIT_SET_CALLS" in os.environ

DATABASES = {
    "default": {
        **environ.Env.db_url_config(os.environ["TENANTS_URL"]),
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": "test_signal_tasks_tenants",
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]

CELERY_BROKER_URL = "memory://"
CELERY_BROKER_CONNECTION_MAX_RETRIES = None

SIGNAL_TASKS = {}
if "TENANTS_TRAVEL" in os.environ:
    SIGNAL_TASKS = {"CONTEXT": ["signal_tasks.contrib.schemas.SearchPath"]}
