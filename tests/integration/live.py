"""The settings of worker processes: the tests' own, with what one test changes."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import SIGNAL_TASKS as COMMON

SIGNAL_TASKS = {**COMMON, **json.loads(os.environ.get("SIGNAL_TASKS", "{}"))}
for _name, _value in json.loads(os.environ.get("CELERY", "{}")).items():
    globals()[f"CELERY_{_name}"] = _value
