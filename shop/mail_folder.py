"""Read the emails that Django's file backend has written to a folder."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path

BETWEEN_MESSAGES = (
    "\n" + "-" * 79
)  # written by Django's file backend after each message
LINK = re.compile(r"^https?://[^/\s]+(/\S+)$", re.MULTILINE)
TIMEOUT = 60.0  # seconds that an email may take
PAUSE = 0.1


def messages_in(folder: Path) -> list[EmailMessage]:
    """Return all messages, the oldest file first."""
    return [_parsed(text) for text in _texts_in(folder)]


def message_with(message_id: str, folder: Path) -> EmailMessage | None:
    """Return the message of this Message-ID, or None."""
    found = (text for text in _texts_in(folder) if message_id in text)
    return next(map(_parsed, found), None)


def _texts_in(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*"), key=lambda file: file.stat().st_mtime_ns):
        yield from filter(str.strip, file.read_text().split(BETWEEN_MESSAGES))


def _parsed(text: str) -> EmailMessage:
    return message_from_string(text.lstrip(), policy=policy.default)


def links_from(folder: Path) -> Callable[[str], str]:
    """Return a function that waits for the newest link that was sent to an address."""

    def newest(address: str) -> str:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            found = [link_in(m) for m in messages_in(folder) if m["To"] == address]
            if links := [link for link in found if link]:
                return links[-1]
            time.sleep(PAUSE)
        raise TimeoutError(f"No link came to {address} in {TIMEOUT:.0f} s.")

    return newest


def link_in(message: EmailMessage) -> str | None:
    """Return the path of the link that stands on a line of its own, if there is one."""
    found = LINK.search(text_of(message))
    return found[1] if found else None


def text_of(message: EmailMessage) -> str:
    """Return the text part of a message."""
    return _part(message, "plain")


def html_of(message: EmailMessage) -> str:
    """Return the HTML part of a message."""
    return _part(message, "html")


def _part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    return str(body.get_content()) if body else ""
