"""Registering, signing in, and the profile that follows the account."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.utils import timezone
from PIL import Image

from customers.models import Customer, CustomerProfile
from customers.proofs import Claim, Purpose, is_proved
from customers.services import Taken, keep_profile, register
from customers.signals import user_registered
from orders.services import place_order
from signal_tasks import Reject
from signal_tasks.testing import capture_signals, run_pending

pytestmark = pytest.mark.django_db

NAMES = {"first_name": "Ada", "last_name": "Muster"}
ADA = {"username": "ada", "email": "ada@example.com", **NAMES}
PASSWORD = "correct horse battery"
FORM = {"username": "ada", **NAMES, "password1": PASSWORD, "password2": PASSWORD}
ASK = {"email": "ada@example.com"}


def picture(size: tuple[int, int] = (900, 600), kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.new("RGB", size, "teal").save(buffer, kind, exif=exif)
    return buffer.getvalue()


def upload(content: bytes | None = None) -> SimpleUploadedFile:
    content = picture() if content is None else content
    return SimpleUploadedFile("holiday.png", content, "image/png")


@pytest.fixture
def ada(db: None) -> User:
    return register(**ADA, password=PASSWORD)


@pytest.fixture
def form_page(client, link_to):
    """The page of the form, whose link went to Ada."""
    client.post("/register/", ASK)
    return link_to("ada@example.com")


# Registration


def test_an_account_begins_with_a_link_to_its_address(client, link_to):
    page = client.post("/register/", ASK, follow=True)
    assert "A link is on its way to ada@example.com" in page.text
    assert "ada@example.com" in client.get(link_to("ada@example.com")).text
    assert not User.objects.exists()


def test_the_answer_is_the_same_whether_there_is_an_account(client, link_to, ada):
    known = client.post("/register/", ASK, follow=True)
    assert link_to("ada@example.com") == "/login/"
    new = Client().post("/register/", {"email": "new@example.com"}, follow=True)
    assert known.redirect_chain == new.redirect_chain
    [told], [told_new] = known.context["messages"], new.context["messages"]
    assert str(told).replace("ada@", "new@") == str(told_new)


@pytest.mark.parametrize("wrong", ["", "no"])
def test_a_wrong_address_says_so_at_the_field(client, wrong):
    response = client.post("/register/", {"email": wrong})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == ["email"]
    assert run_pending() == []


def test_an_account_made_with_a_link_has_a_proved_address(client, form_page):
    client.post(form_page, FORM)
    user = User.objects.get()
    assert user.email == "ada@example.com"
    assert is_proved(email="Ada@Example.com", user_id=user.pk, visitor=None)


def test_a_customer_is_called_as_the_owner_of_the_address_says(client, form_page, mug):
    place_order(name="Mallory", email="ada@example.com", lines=[(mug, 1)])
    client.post(form_page, FORM)
    assert Customer.objects.get().name == "Ada Muster"


def test_whoever_registers_is_signed_in_welcomed_and_has_a_profile(client, form_page):
    mail.outbox.clear()
    response = client.post(form_page, FORM, follow=True)
    assert response.redirect_chain == [("/profile/", 302)]
    assert response.context["user"].username == "ada"
    assert "Your profile is being made" in response.text
    run_pending()
    assert str(CustomerProfile.objects.get(user__username="ada")) == "Ada Muster"
    [message] = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "Hello Ada," in message.body
    assert "Ada Muster" in client.get("/profile/").text


def test_a_profile_that_could_not_be_made_is_not_waited_for(
    client, form_page, monkeypatch
):
    def refuse(**_):
        raise Reject("not today")

    monkeypatch.setattr("customers.receivers.keep_profile", refuse)
    client.post(form_page, FORM)
    run_pending()
    response = client.get("/profile/")
    assert "We could not make your profile" in response.text
    assert "hx-get" not in response.text


def test_registering_sends_the_user_with_the_user_model_as_sender(client, form_page):
    with capture_signals() as sent:
        client.post(form_page, FORM)
    [ours] = [each for each in sent if each.signal is user_registered]
    assert ours.sender is User
    assert ours.kwargs == {"user": User.objects.get()}


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("username", "", "This field is required."),
        ("username", "a d a", "Enter a valid username."),
        ("first_name", "Win! https://example.com", "Please leave out"),
        ("password2", "another one", "The two password fields"),
    ],
)
def test_a_wrong_form_says_so_at_the_field(client, form_page, field, wrong, said):
    response = client.post(form_page, {**FORM, field: wrong})
    assert response.status_code == 422
    assert said in " ".join(response.context["form"].errors[field])
    assert run_pending() == []
    assert not User.objects.exists()


def test_whoever_gives_no_name_is_called_by_their_username(client, form_page):
    mail.outbox.clear()
    nameless = {key: value for key, value in FORM.items() if key not in NAMES}
    response = client.post(form_page, nameless, follow=True)
    assert "Welcome, ada!" in response.text
    run_pending()
    assert "Hello ada," in mail.outbox[0].body
    assert str(CustomerProfile.objects.get()) == "A customer"
    assert Customer.objects.get().name == "ada"


@pytest.mark.parametrize("password", ["short", "12345678", "ada@example.com"])
def test_a_weak_password_is_refused(client, form_page, password):
    weak = {"password1": password, "password2": password}
    response = client.post(form_page, {**FORM, **weak})
    assert "password2" in response.context["form"].errors
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("email", "username", "field"),
    [
        ("ADA@Example.com", "ada2", "__all__"),
        ("ada2@example.com", "ada", "username"),
    ],
)
def test_what_another_account_has_is_refused(client, ada, email, username, field):
    run_pending()
    token = Claim(email=email).token(Purpose.ACCOUNT)
    response = client.post(f"/register/{token}/", {**FORM, "username": username})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert User.objects.count() == 1
    assert run_pending() == []


def test_a_link_makes_one_account(client, form_page):
    client.post(form_page, FORM)
    again = Client().post(form_page, {**FORM, "username": "ada2"})
    assert "Another account has this email." in again.text
    assert User.objects.count() == 1


def test_the_service_refuses_a_name_that_was_taken_meanwhile(ada):
    with pytest.raises(Taken) as refusal:
        register(**{**ADA, "email": "new@example.com"}, password=PASSWORD)
    assert refusal.value.field == "username"


def test_a_rolled_back_registration_sends_nothing(client):
    with transaction.atomic():
        register(**ADA, password=PASSWORD)
        transaction.set_rollback(True)
    assert run_pending() == []
    assert mail.outbox == []
    assert not Customer.objects.exists()


def test_an_account_that_is_gone_is_not_welcomed(ada):
    ada.delete()
    assert {delivery.state for delivery in run_pending()} == {"discarded"}
    assert mail.outbox == []


@pytest.mark.parametrize("seed", range(3))
def test_deliveries_twice_and_in_any_order_welcome_once(ada, seed):
    run_pending(twice=True, shuffle=seed)
    assert len(mail.outbox) == 1
    assert CustomerProfile.objects.count() == 1


def test_whoever_is_signed_in_does_not_register_again(client, ada):
    client.force_login(ada)
    assert client.get("/register/").url == "/profile/"


# The address, inline


def test_an_address_is_normalised_before_it_is_saved(db):
    user = User(username="bob", email="  Bob.Smith@EXAMPLE.Com ")
    user.save()
    assert User.objects.get().email == "Bob.Smith@example.com"


# The profile


def test_a_profile_follows_the_names_of_its_user(ada):
    run_pending()
    ada.last_name = "Beispiel"
    ada.save()
    run_pending()
    assert str(ada.profile) == "Ada Beispiel"


def test_an_old_update_that_comes_late_does_not_overwrite_newer_names(ada):
    run_pending()
    for name in ("First", "Second", "Third"):
        ada.last_name = name
        ada.save()
    old = User(pk=ada.pk, last_name="First")
    for seed in range(3):
        run_pending(twice=True, shuffle=seed)
        assert str(CustomerProfile.objects.get()) == "Ada Third"
    assert str(keep_profile(user=old)) == "Ada Third"


def test_a_save_that_cannot_have_changed_a_name_sends_nothing(client, ada):
    run_pending()
    client.force_login(ada)  # which saves last_login
    ada.last_login = timezone.now() - timedelta(days=1)
    ada.save(update_fields=["last_login"])
    assert run_pending() == []


# Signing in and out


def test_a_user_signs_in_and_out(client, ada):
    login = {"username": "ada", "password": PASSWORD}
    assert client.post("/login/", login).url == "/profile/"
    assert client.get("/profile/").status_code == 200
    assert client.post("/logout/").url == "/"
    assert client.get("/profile/").url == "/login/?next=/profile/"


def test_signing_out_by_a_link_is_refused_and_says_what_to_use(client, ada):
    response = client.get("/logout/")
    assert response.status_code == 405
    assert "use POST" in response.text


def test_a_wrong_password_is_refused_at_the_form(client, ada):
    response = client.post("/login/", {"username": "ada", "password": "no"})
    assert "correct username and password" in response.text


# Changing the profile


def test_names_and_picture_are_changed_on_the_page(client, ada):
    client.force_login(ada)
    changes = {**NAMES, "first_name": "Adele", "picture": upload()}
    assert client.post("/profile/", changes).status_code == 302
    run_pending()
    profile = CustomerProfile.objects.get()
    assert str(profile) == "Adele Muster"
    assert str(profile.picture).startswith("pictures/")
    assert profile.picture.url in client.get("/profile/").text


def test_a_picture_is_kept_small_and_says_nothing_but_its_pixels(client, ada):
    client.force_login(ada)
    client.post("/profile/", {**NAMES, "picture": upload(picture(kind="JPEG"))})
    with CustomerProfile.objects.get().picture.open() as file:
        kept = Image.open(file)
        assert (kept.format, kept.size) == ("JPEG", (512, 341))
        assert dict(kept.getexif()) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg onload='alert(1)'/>",
        picture()[:200],
        picture(kind="GIF"),
    ],
)
def test_what_is_no_picture_is_refused_at_the_field(client, ada, content):
    client.force_login(ada)
    changes = {**NAMES, "first_name": "Eve", "picture": upload(content)}
    response = client.post("/profile/", changes)
    assert response.status_code == 422
    assert list(response.context["form"].errors) == ["picture"]
    ada.refresh_from_db()
    assert ada.first_name == "Ada"


def test_a_new_picture_takes_the_place_of_the_old_file(
    client, ada, django_capture_on_commit_callbacks
):
    client.force_login(ada)
    shown = []
    for changes in (
        {"picture": upload()},
        {"picture": upload()},
        {"remove_picture": "on"},
    ):
        with django_capture_on_commit_callbacks(execute=True):
            client.post("/profile/", {**NAMES, **changes})
        shown.append(CustomerProfile.objects.get().picture)
    first, second, last = shown
    assert not last
    assert first.name != second.name
    assert not any(old.storage.exists(str(old)) for old in (first, second))
