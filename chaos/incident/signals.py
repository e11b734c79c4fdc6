"""The signals of the incident."""

from __future__ import annotations

from signal_tasks import AsyncSignal

#: A customer is to get a mail.
mail_due = AsyncSignal()
#: A customer wants seats.
seats_wanted = AsyncSignal()
