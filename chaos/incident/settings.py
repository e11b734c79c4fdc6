"""Settings of the incident: those of the fault suite, with the library's own times."""

from __future__ import annotations

import json
import os

from chaos import settings as suite
from chaos.settings import *  # noqa: F403 - everything else is the same

INSTALLED_APPS = [*suite.INSTALLED_APPS, "chaos.incident"]
#: The short form passes shorter times; else every time is the default.
SIGNAL_TASKS = json.loads(os.environ.get("CHAOS_SIGNAL_TASKS", "{}"))
