"""All that stands in an email that went out."""

from __future__ import annotations

from typing import Any


def written(message: Any) -> str:
    """Return subject, text and HTML of a message, decoded."""
    parts = (part for part in message.message().walk() if not part.is_multipart())
    decoded = (part.get_payload(decode=True).decode() for part in parts)
    return "\n".join([str(message.subject), *decoded])
