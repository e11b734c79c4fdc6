"""What others may ask notifications to do."""

from __future__ import annotations

from signal_tasks import AsyncSignal

notification = AsyncSignal()
"""Somebody is to be written to; sent with ``email`` and ``username``."""
