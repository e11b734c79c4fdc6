"""A mail server of our own, that speaks real SMTP and can be told to be difficult."""

from __future__ import annotations

import asyncio
import time
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from shop.mail_folder import LINK
from shop.servers import HOST, free_port


class PostOffice:
    """Takes messages, unless it was told what to answer, or to take its time."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[Message] = []
        self.answers: dict[str, str] = {}  # by recipient
        self.verdict = "250 OK"  # on what is in a message
        self.delay = 0.0
        self.controller: Controller | None = None

    def open(self) -> None:
        """Answer on the port from now on."""
        self.controller = Controller(self, hostname=HOST, port=self.port)
        self.controller.start()

    def close(self) -> None:
        """Let nobody connect from now on."""
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    def link_to(self, address: str, timeout: float = 60.0) -> str:
        """Return the path of the newest link that was sent to an address; wait for it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            sent = [m for m in list(self.received) if m["To"] == address]
            if found := [link for link in map(_link_in, sent) if link]:
                return found[-1]
            time.sleep(0.05)
        raise TimeoutError(f"No link came to {address} in {timeout:.0f} s.")

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd calls it so
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 -- aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        await asyncio.sleep(self.delay)
        if self.verdict.startswith("2"):
            content: Any = envelope.content
            self.received.append(message_from_bytes(content))
        return self.verdict


def _link_in(message: Message) -> str | None:
    text: Any = next(
        part.get_payload(decode=True)
        for part in message.walk()
        if part.get_content_type() == "text/plain"
    )
    found = LINK.search(text.decode().replace("\r\n", "\n"))
    return found[1] if found else None
