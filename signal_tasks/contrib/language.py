"""Carry the language of the sender to its receivers."""

from __future__ import annotations

from contextlib import AbstractContextManager

from django.utils import translation


class Language:
    """The language that is active, as in ``django.utils.translation``."""

    name = "language"

    def capture(self) -> str | None:
        """Return the code of the language; None while translations are off."""
        return translation.get_language()

    def restore(self, value: str) -> AbstractContextManager[None]:
        """Make the language active."""
        return translation.override(value)
