"""Emails that a running shop has written to its mail folder."""

from __future__ import annotations

import time
from email.message import EmailMessage
from pathlib import Path

from shop.mail_folder import messages_in

TIMEOUT = 40.0


def emails_to(recipient: str, folder: Path) -> list[EmailMessage]:
    """Return all emails to this address, the oldest first."""
    return [email for email in messages_in(folder) if email["To"] == recipient]


def wait_for_email(
    recipient: str, subject: str, text: str = "", *, folder: Path
) -> EmailMessage:
    """Return the newest email to this address with this subject and text in it.

    Wait until there is one.
    """
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        found = [
            each
            for each in emails_to(recipient, folder)
            if each["Subject"] == subject and text in text_of(each)
        ]
        if found:
            return found[-1]
        time.sleep(0.1)
    raise AssertionError(f"{recipient} got no {subject!r} in {TIMEOUT:.0f} s")


def text_of(email: EmailMessage) -> str:
    """Return the text of an email."""
    body = email.get_body(("plain",))
    assert body is not None
    return str(body.get_content())
