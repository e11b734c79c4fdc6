"""What blocks a key is seen, counted, and can be skipped."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from signal_tasks import operations
from signal_tasks.models import AuditEntry, Delivery
from signal_tasks.steering import keys
from tests.signal_tasks.ordering.steps import LATER, ONCE, Ordered, positions, row

pytestmark = pytest.mark.django_db(transaction=True)


def blocked(number: int = 3, **options: Any) -> tuple[Ordered, list[Any]]:
    """Return a receiver whose first delivery is dead, and all its deliveries."""
    ordered = Ordered(**{"retry": ONCE} | options)
    ordered.rejected = {0}
    handles = ordered.send_all(range(number))
    ordered.run(handles[0])
    return ordered, handles


def test_a_blocked_key_names_what_blocks_it() -> None:
    ordered, handles = blocked()
    (key,) = operations.blocked_keys()
    assert (key.receiver, key.key) == (ordered.name, "k")
    assert (key.delivery_id, key.event_id) == (handles[0].id, handles[0].event_id)
    assert (key.state, key.reason) == ("dead", "rejected")
    assert key.error == "Reject: 0 is refused"
    assert key.waiting == 2
    assert key.since == row(handles[0]).finished_at
    assert str(key).startswith(f"{ordered.name} k: 2 behind {handles[0].id} (dead")


def test_keys_that_run_are_not_blocked() -> None:
    ordered = Ordered()
    ordered.send_all(range(3))
    assert operations.blocked_keys() == []


def test_a_retry_blocks_only_what_waits_behind_it() -> None:
    ordered = Ordered(retry=LATER)
    ordered.failing = {0}
    ordered.run(ordered.send(0))
    assert operations.blocked_keys() == []
    ordered.send(1)
    (key,) = operations.blocked_keys()
    assert (key.state, key.reason, key.waiting) == ("pending", "", 1)
    assert key.error == "RuntimeError: 0 fails"


def test_blocked_keys_of_one_receiver_up_to_a_limit() -> None:
    blocked()
    second, _ = blocked()
    found = operations.blocked_keys(receiver=second.name)
    assert [key.receiver for key in found] == [second.name]
    assert len(operations.blocked_keys(limit=1)) == 1


def test_a_receiver_that_nobody_knows_has_no_blocked_keys() -> None:
    ordered, _ = blocked()
    assert operations.blocked_keys(receiver=ordered.name[:-1]) == []


def test_a_receiver_of_which_only_rows_are_left_has_keys() -> None:
    ordered, _ = blocked()
    Delivery.objects.update(receiver="t.gone_since")
    (key,) = operations.blocked_keys(receiver="t.gone_since")
    assert key.receiver == "t.gone_since"
    Delivery.objects.all().discard()
    assert operations.blocked_keys(receiver="t.gone_since") == []
    assert operations.blocked_keys(receiver=ordered.name) == []


def test_what_waits_is_counted_up_to_a_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(keys, "MAX_WAITING", 2)
    blocked(5)
    (key,) = operations.blocked_keys()
    assert key.waiting == 2


def test_describe_says_what_a_delivery_waits_behind() -> None:
    _, handles = blocked()
    described = operations.describe(handles[1].event_id)
    assert described is not None
    (delivery,) = described["deliveries"]
    assert delivery["key"] == "k"
    assert delivery["waits_behind"] == {
        "delivery": str(handles[0].id),
        "state": "dead",
        "reason": "rejected",
    }
    first = operations.describe(handles[0].event_id)
    assert first is not None
    assert first["deliveries"][0]["waits_behind"] is None


def test_a_skipped_dead_letter_stays_dead_and_blocks_nothing() -> None:
    ordered, handles = blocked()
    operations.skip(handles[0].id, by="ann", reason="known to be wrong")
    assert positions(*handles) == [None, 2, 3]
    assert row(handles[0]).state == "dead"
    assert operations.blocked_keys() == []
    ordered.run(handles[1])
    assert ordered.calls == [0, 1, 2]


def test_a_skip_is_recorded() -> None:
    _, handles = blocked()
    user = get_user_model()(username="ann")
    operations.skip(str(handles[0].id), by=user, reason="wrong")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.by, entry.reason) == ("skip", "ann", "wrong")
    assert entry.target == str(handles[0].id)
    assert f"skip {handles[0].id}" in entry.command


def test_only_dead_letters_that_have_a_turn_are_skipped() -> None:
    _, handles = blocked()
    with pytest.raises(ValueError, match="only dead letters"):
        operations.skip(handles[1].id)
    operations.skip(handles[0].id)
    with pytest.raises(ValueError, match="nothing waits behind it"):
        operations.skip(handles[0].id)
    with pytest.raises(ValueError, match="there is no delivery"):
        operations.skip(uuid.uuid4())
    assert AuditEntry.objects.count() == 1


def test_an_orphan_blocks_its_key() -> None:
    ordered = Ordered()
    first, _ = ordered.send_all(range(2))
    Delivery.objects.filter(pk=first.id).update(orphaned=True)
    (key,) = operations.blocked_keys()
    assert (key.delivery_id, key.state) == (first.id, "pending")
