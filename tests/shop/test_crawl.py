"""Every page, asked for by everybody: who gets which answer. No page is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from customers.models import Subscriber
from customers.newsletter import subscribe, unsubscribe_token
from customers.proofs import Claim, Purpose
from notifications.models import Notification
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
EVERYBODY = ("anonymous", "customer", "viewer", "clerk")
Codes = tuple[int, int, int, int]  # in this order


def all_of(code: int) -> Codes:
    return (code,) * 4


OPEN, REFUSED, GONE = all_of(200), all_of(405), all_of(404)
SEES = (404, 404, 200, 404)  # only who may view such things
SIGNED_IN = (302, 200, 200, 200)  # the others are sent to the page where one signs in

# The answers to GET and to an empty POST. A viewer is staff with every permission to
# view, a clerk is staff with none; the order is somebody else's.
PAGES: dict[str, tuple[Codes, Codes]] = {
    "catalogue": (OPEN, REFUSED),
    "product": (OPEN, REFUSED),
    "reviews": (OPEN, (302, 422, 422, 422)),
    "basket": (OPEN, GONE),
    "change-basket": (REFUSED, GONE),
    "order-basket": (REFUSED, all_of(302)),
    "orders": (OPEN, GONE),
    "order": (SEES, REFUSED),
    "deliveries": ((404, 404, 286, 404), REFUSED),
    "confirm": (REFUSED, (404, 404, 403, 404)),
    "send-proof": (REFUSED, (404, 404, 403, 404)),
    "cancel": (REFUSED, (404, 404, 403, 404)),
    "inbox": (SEES, REFUSED),
    "mail": (SEES, REFUSED),
    "mail-html": (SEES, REFUSED),
    "icon": (all_of(302), REFUSED),
    "health": (all_of(503), REFUSED),  # no worker lives here
    "register": ((200, 302, 302, 302), (422, 302, 302, 302)),
    "register-account": ((200, 302, 302, 302), (422, 302, 302, 302)),
    "prove": (OPEN, all_of(302)),
    "login": (OPEN, OPEN),
    "logout": (REFUSED, all_of(302)),
    "profile": (SIGNED_IN, all_of(302)),
    "newsletter": (OPEN, REFUSED),
    "subscribe": (OPEN, all_of(400)),
    "unsubscribe": (OPEN, all_of(400)),
    "join": (OPEN, all_of(302)),
    "leave": (OPEN, OPEN),
    "notify": (SIGNED_IN, (302, 422, 422, 422)),
    "incident": (GONE, REFUSED),
    "incident-now": (GONE, REFUSED),
    "incident-begin": (REFUSED, GONE),
    "incident-orders": (REFUSED, GONE),
    "break-mail": (REFUSED, GONE),
    "repair-mail": (REFUSED, GONE),
    "replay": (REFUSED, GONE),
    "kill-worker": (REFUSED, GONE),
}


@pytest.fixture
def arguments(mug, confirmed):
    """What stands in the addresses, by the name of the page."""
    order = confirmed((mug, 1))
    subscribe(email="reader@example.com")
    run_pending()
    sent = Notification.objects.filter(order=order).get()
    claim = Claim(email="new@example.com", visitor="0" * 32)
    orders = dict.fromkeys(
        ("order", "deliveries", "confirm", "send-proof", "cancel"), order.pk
    )
    return {
        **orders,
        **dict.fromkeys(("product", "reviews"), mug.slug),
        **dict.fromkeys(("mail", "mail-html"), sent.pk),
        "register-account": claim.token(Purpose.ACCOUNT),
        "prove": claim.token(Purpose.ADDRESS),
        "join": claim.token(Purpose.NEWSLETTER),
        "leave": unsubscribe_token(Subscriber.objects.get()),
    }


@pytest.fixture(params=EVERYBODY)
def who(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def browser(who: str) -> Client:
    found = Client(raise_request_exception=False)
    if who != "anonymous":
        user = User.objects.create_user(who, is_staff=who in ("viewer", "clerk"))
        if who == "viewer":
            may = Permission.objects.filter(codename__startswith="view_")
            user.user_permissions.set(may)
        found.force_login(user)
    return found


def names(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    """The names of all pages but those of the admin and of the dashboard."""
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            yield str(pattern.name)
        elif pattern.namespace not in ("admin", "signal_tasks"):
            yield from names(pattern.url_patterns)


def test_no_page_is_left_out():
    assert sorted(PAGES) == sorted(names(get_resolver().url_patterns))


@pytest.mark.parametrize("method", ["get", "post"])
def test_each_page_answers_each_person_as_it_should(who, browser, arguments, method):
    found = {}
    for name in PAGES:
        given = [arguments[name]] if name in arguments else []
        client = Client(raise_request_exception=False)
        client.cookies = browser.cookies.copy()
        found[name] = getattr(client, method)(reverse(name, args=given)).status_code
        if name == "logout" and who != "anonymous":
            browser.force_login(User.objects.get(username=who))
    column = EVERYBODY.index(who)
    wanted = {name: PAGES[name][method == "post"][column] for name in PAGES}
    assert found == wanted


def test_a_probe_needs_no_name(browser):
    assert browser.get("/alive/").status_code == 200


# The admin

STAFF_ONLY = ("index", "password_change", "password_change_done", "jsi18n")


def test_the_admin_lets_nobody_in_but_staff(who, browser):
    code = 200 if who in ("viewer", "clerk") else 302
    answers = {name: browser.get(reverse(f"admin:{name}")) for name in STAFF_ONLY}
    assert {name: answer.status_code for name, answer in answers.items()} == (
        dict.fromkeys(STAFF_ONLY, code)
    )
    if code == 302:
        assert all("/admin/login/" in answer["Location"] for answer in answers.values())


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda m: m._meta.label)
def test_each_model_of_the_admin_asks_for_its_permission(
    who, browser, arguments, model
):
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    instance = model._default_manager.first()
    pk = instance.pk if instance else 1
    one = [reverse(f"{name}_{page}", args=[pk]) for page in ("change", "history")]
    changing = [reverse(f"{name}_add"), reverse(f"{name}_delete", args=[pk])]
    listed = browser.get(reverse(f"{name}_changelist")).status_code
    seen = {browser.get(page).status_code for page in one} if instance else {listed}
    changed = {browser.get(page).status_code for page in changing}
    wanted = {"viewer": (200, {200}, {403}), "clerk": (403, {403}, {403})}
    assert (listed, seen, changed) == wanted.get(who, (302, {302}, {302}))
    assert browser.post(changing[0], {}).status_code in (302, 403)
