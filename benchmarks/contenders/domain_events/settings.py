"""The app and what it needs; each fire wakes a relay, which makes it fast when idle."""

from __future__ import annotations

APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_domain_events",
]
DJANGO_DOMAIN_EVENTS = {"NOTIFY_COALESCE_SECONDS": 0.02}
