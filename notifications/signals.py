"""Signals of the notifications app."""

from __future__ import annotations

from signal_tasks import AsyncSignal

notification = AsyncSignal()
"""An email was requested; sent with ``email`` and ``username``."""
