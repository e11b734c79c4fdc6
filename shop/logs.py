"""Logging: lines for people, or one JSON object per line with every extra field."""

from __future__ import annotations

from typing import Any

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def logging_config(*, style: str, level: str) -> dict[str, Any]:
    """Return the configuration for the style ``line`` or ``json``."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": FORMAT},
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": FORMAT,
                "rename_fields": {"asctime": "time", "levelname": "level"},
            },
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": style}},
        "root": {"handlers": ["console"], "level": level},
        # Django's own handler would print each of its lines a second time.
        "loggers": {"django": {"handlers": []}},
    }
