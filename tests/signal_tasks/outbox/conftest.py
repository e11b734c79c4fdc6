"""A record of what the outbox gives to the publisher."""

from __future__ import annotations

import pytest

from signal_tasks.publisher import Parcel, publisher


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Parcel]:
    """Record what is given to the publisher, which publishes it as usual."""
    parcels: list[Parcel] = []
    submit = publisher.submit

    def submit_and_note(parcel: Parcel) -> None:
        parcels.append(parcel)
        submit(parcel)

    monkeypatch.setattr(publisher, "submit", submit_and_note)
    return parcels
