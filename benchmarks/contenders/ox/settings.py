"""The backend as documented."""

from __future__ import annotations

APPS = ["django_ox"]
TASKS = {"default": {"BACKEND": "django_ox.backend.OxBackend"}}
