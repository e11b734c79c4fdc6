"""Nothing but the app: everything else is as shipped."""

from __future__ import annotations

APPS = ["signal_tasks"]
