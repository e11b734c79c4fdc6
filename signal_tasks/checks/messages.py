"""The type of what a check yields."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage

Messages = Iterator[CheckMessage]
