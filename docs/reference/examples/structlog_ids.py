"""structlog: say in each line of a receiver which delivery it is for."""

from __future__ import annotations

import structlog
from structlog.typing import EventDict, WrappedLogger

from signal_tasks.telemetry.logs import correlation


def add_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the ids of the delivery, if this is a receiver."""
    ids = {field: text for field, text in correlation().items() if text}
    return {**ids, **event}


structlog.configure(processors=[add_ids, structlog.processors.JSONRenderer()])
