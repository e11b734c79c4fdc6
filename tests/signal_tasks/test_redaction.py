"""The value of a sensitive argument is shown nowhere, and still gets to receivers."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.test import Client

from signal_tasks import AsyncSignal, RetryPolicy, codec, operations
from signal_tasks.checks import receivers as checks
from signal_tasks.models import Delivery, Event
from signal_tasks.redaction import REDACTED, redacted
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import command
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

SECRET = "ann@example.org"


@pytest.fixture
def sensitive() -> AsyncSignal:
    """A signal whose email is nobody's business."""
    return AsyncSignal(name="tests.sensitive", sensitive=("email",))


def encoded(*names: str, **named: Any) -> str:
    return codec.encode("t.s", None, named, max_bytes=10_000, sensitive=names)


@pytest.mark.django_db
def test_no_surface_shows_it(
    sensitive: AsyncSignal, admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: object, email: str, **kwargs: Any) -> None:
        raise ValueError("no such mailbox")

    caplog.set_level(logging.DEBUG)
    once = RetryPolicy(max_attempts=1)
    sensitive.connect(fail, name="t.sensitive", weak=False, retry=once)
    sensitive.send(sender=None, email=SECRET, number=7)
    run_pending()
    delivery = Delivery.objects.get()
    event = delivery.event_id
    surfaces = {
        "event": page(admin_client, f"/signals/events/{event}/"),
        "events": page(admin_client, "/signals/events/"),
        "delivery": page(admin_client, f"/signals/deliveries/{delivery.pk}/"),
        "admin": page(admin_client, f"/admin/signal_tasks/event/{event}/change/"),
        "command": command("inspect", event),
        "describe": json.dumps(operations.describe(event)),
    }
    for surface, seen in surfaces.items():
        assert SECRET not in seen, surface
        assert REDACTED in seen, surface
        assert "7" in seen, surface
    assert "delivery_dead" in caplog.text
    assert SECRET not in caplog.text


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.mark.django_db
def test_the_receiver_gets_it(sensitive: AsyncSignal) -> None:
    calls = listen(sensitive)
    sensitive.send(sender=None, email=SECRET)
    run_pending()
    assert calls == [{"sender": None, "email": SECRET}]


@pytest.mark.django_db
def test_many_at_once_are_as_sensitive(sensitive: AsyncSignal) -> None:
    listen(sensitive)
    sensitive.send_many(None, [{"email": SECRET}, {"email": SECRET}])
    for event in Event.objects.all():
        assert SECRET not in redacted("nobody.knows.it", event.payload)


@pytest.mark.django_db
def test_a_sensitive_object_is_no_subject() -> None:
    signal = AsyncSignal(name="tests.patients", sensitive=["patient", "sender"])
    listen(signal)
    patient = Thing.objects.create()
    signal.send(sender=patient, patient=patient)
    assert Event.objects.get().subject == ""
    signal.send(sender=patient, patient=patient, ward=Thing.objects.create(pk=9))
    assert Event.objects.latest("pk").subject == "testapp.thing:9"


@pytest.mark.django_db
def test_what_is_caused_by_a_sensitive_object_does_not_name_it() -> None:
    signal = AsyncSignal(name="tests.patients", sensitive="patient")
    caused = AsyncSignal(name="tests.caused")
    listen(caused)

    def cause(sender: object, **kwargs: Any) -> None:
        caused.send(sender=None)

    signal.connect(cause, name="t.causing", weak=False)
    signal.send(sender=None, patient=Thing.objects.create())
    run_pending()
    assert "testapp.thing" not in Event.objects.get(signal="tests.caused").headers


def test_a_process_that_does_not_know_the_signal_hides_it() -> None:
    assert SECRET not in redacted("of.another.process", encoded("email", email=SECRET))


def test_what_was_sent_before_the_declaration_is_hidden(
    sensitive: AsyncSignal,
) -> None:
    listen(sensitive)
    assert SECRET not in redacted(sensitive.name, encoded(email=SECRET))


def test_names_that_are_no_plain_keys_are_hidden_beside_others() -> None:
    payload = encoded("email", email=[SECRET], **{"$odd": 1})
    seen = redacted("t.s", payload)
    assert SECRET not in seen
    assert "$odd" in seen


def test_the_sender_can_be_sensitive() -> None:
    payload = codec.encode("t", SECRET, {}, max_bytes=1000, sensitive=["sender"])
    assert json.loads(redacted("t", payload))["sender"] == REDACTED


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: f"[{text}]",
        lambda text: text.replace("kwargs", "words"),
        lambda text: text.replace('["email"]', "[[]]"),
        lambda text: text.replace(f'{{"email":"{SECRET}"}}', f'"{SECRET}"'),
    ],
)
def test_a_damaged_one_is_hidden_as_a_whole(damage: Any) -> None:
    text = damage(encoded("email", email=SECRET))
    assert SECRET in text
    assert redacted("t.s", text) == REDACTED


def test_a_signal_without_sensitive_arguments_pays_nothing() -> None:
    payload = encoded(email=SECRET)
    assert payload == f'{{"v":1,"sender":null,"kwargs":{{"email":"{SECRET}"}}}}'
    assert redacted("t.s", payload) is payload


@pytest.mark.parametrize("names", [(1,), (b"email",), ("",), "a, b", ("e-mail",)])
def test_what_is_no_name_of_an_argument_is_refused(names: Any) -> None:
    with pytest.raises(TypeError, match="give the names of arguments"):
        AsyncSignal(sensitive=names)


def test_w015_a_misspelt_name_is_told() -> None:
    signal = AsyncSignal(name="tests.misspelt", sensitive=("emial", "sender"))

    def receiver(sender: object, email: str, **kwargs: Any) -> None: ...

    signal.connect(receiver, name="t.reads", weak=False)
    (message,) = checks.sensitive_names_are_known()
    assert message.id == "signal_tasks.W015"
    assert "'email' is shown" in message.msg


def test_w015_what_no_receiver_names_may_be_meant(sensitive: AsyncSignal) -> None:
    listen(sensitive)
    assert list(checks.sensitive_names_are_known()) == []
