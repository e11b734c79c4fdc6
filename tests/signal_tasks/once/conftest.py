"""A record of what the outbox gives to the publisher."""

from __future__ import annotations

import pytest

from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[PublishRequest]:
    """Record what is given to the publisher, which publishes it as usual."""
    requests: list[PublishRequest] = []
    submit = publisher.submit

    def submit_and_note(request: PublishRequest) -> None:
        requests.append(request)
        submit(request)

    monkeypatch.setattr(publisher, "submit", submit_and_note)
    return requests
