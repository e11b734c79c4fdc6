"""What went out of a running shop: the letters in the folder of its mail backend."""

from __future__ import annotations

import time
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path

from shop.audit import BETWEEN_MESSAGES

TIMEOUT = 40.0


def emails_to(recipient: str, folder: Path) -> list[EmailMessage]:
    """All that were written to this address, the oldest first."""
    files = sorted(folder.glob("*"), key=lambda file: file.stat().st_mtime_ns)
    texts = [
        text for file in files for text in file.read_text().split(BETWEEN_MESSAGES)
    ]
    parsed: list[EmailMessage] = [
        message_from_string(text.lstrip(), policy=policy.default)
        for text in texts
        if text.strip()
    ]
    return [letter for letter in parsed if letter["To"] == recipient]


def wait_for_email(recipient: str, subject: str, folder: Path) -> EmailMessage:
    """The newest letter to this address with this subject, as soon as there is one."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        found = [
            each for each in emails_to(recipient, folder) if each["Subject"] == subject
        ]
        if found:
            return found[-1]
        time.sleep(0.1)
    raise AssertionError(f"{recipient} got no {subject!r} in {TIMEOUT:.0f} s")


def text_of(letter: EmailMessage) -> str:
    """What stands in it."""
    body = letter.get_body(("plain",))
    assert body is not None
    return str(body.get_content())
