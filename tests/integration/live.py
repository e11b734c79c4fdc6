"""Settings of worker processes: those of the tests, with what one test changes."""

from __future__ import annotations

import json
import os

from tests.signal_tasks.settings import *  # noqa: F403
from tests.signal_tasks.settings import DATABASES, NO_HURRY
from tests.signal_tasks.settings import SIGNAL_TASKS as COMMON

DATABASES["default"] |= json.loads(os.environ.get("DEFAULT_DATABASE", "{}"))
SIGNAL_TASKS = {name: value for name, value in COMMON.items() if name not in NO_HURRY}
SIGNAL_TASKS |= json.loads(os.environ.get("SIGNAL_TASKS", "{}"))
for _name, _value in json.loads(os.environ.get("CELERY", "{}")).items():
    globals()[f"CELERY_{_name}"] = _value

if "TEST_TRACES" in os.environ:
    from tests.traces import record_in

    record_in(os.environ["TEST_TRACES"])
    SIGNAL_TASKS["TRACING"] = True
if "TEST_CELERY_TRACES" in os.environ:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
