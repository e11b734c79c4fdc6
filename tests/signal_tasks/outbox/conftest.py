"""What the outbox hands to the publisher."""

from __future__ import annotations

import pytest

from signal_tasks.publisher import Parcel, publisher


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Parcel]:
    """What was handed to the publisher; it is published all the same."""
    parcels: list[Parcel] = []
    submit = publisher.submit

    def submit_and_note(parcel: Parcel) -> None:
        parcels.append(parcel)
        submit(parcel)

    monkeypatch.setattr(publisher, "submit", submit_and_note)
    return parcels
