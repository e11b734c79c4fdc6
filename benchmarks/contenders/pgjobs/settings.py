"""Nothing but the app."""

from __future__ import annotations

APPS = ["procrastinate.contrib.django"]
