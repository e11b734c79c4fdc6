"""Each page, with and without data: what it tells, to whom, in how many statements."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django import template
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from signal_tasks import AsyncSignal, RetryPolicy, operations
from signal_tasks.dashboard.templatetags.signal_tasks_dashboard import link
from signal_tasks.models import (
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    FailureGroup,
    HeldDelivery,
    Operation,
    Worker,
)
from signal_tasks.operations import Selection
from signal_tasks.reports import bounds, naming
from signal_tasks.states import Hold
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish, listen, send
from tests.signal_tasks.dashboard.conftest import (
    MARKUP,
    die,
    logged_in,
    statements_of,
    text,
    user,
)

pytestmark = pytest.mark.django_db

LISTS = (
    "",
    "events/",
    "dead/",
    "blocked/",
    "receivers/",
    "operations/",
    "workers/",
    "log/",
)


@pytest.fixture
def group(dead: Delivery) -> FailureGroup:
    return FailureGroup.objects.get()


@pytest.fixture
def details(dead: Delivery, group: FailureGroup) -> list[str]:
    """The pages of one thing each."""
    operations.replay(Selection(receiver="t.failing"), reason=MARKUP, by=MARKUP)
    return [
        f"events/{dead.event_id}/",
        f"deliveries/{dead.pk}/",
        f"dead/{group.pk}/",
        f"receivers/{dead.receiver}/",
        f"operations/{Operation.objects.get().pk}/",
    ]


def test_what_waits_is_listed_by_its_object(pages: Client, signal: AsyncSignal) -> None:
    listen(signal, name="t.waits")
    signal.using(subject="shop.order:5").send(sender=None)
    ((_, handle),) = signal.send(sender=None)
    seen = text(pages.get("/signals/receivers/t.waits/"))
    assert ">shop.order:5</a>" in seen
    assert f">{handle.id}</a>" in seen


# -- for whom -----------------------------------------------------------------------


@pytest.mark.parametrize("page", LISTS)
def test_each_list_can_be_empty(pages: Client, page: str) -> None:
    text(pages.get(f"/signals/{page}"))


def test_each_page_is_for_viewers_only(details: list[str], client: Client) -> None:
    nobody = logged_in(User.objects.create_user("nobody"))
    viewer = logged_in(user("viewer", "view_delivery"))
    for page in (*LISTS, *details):
        assert client.get(f"/signals/{page}").status_code == 302
        assert nobody.get(f"/signals/{page}").status_code == 403
        text(viewer.get(f"/signals/{page}"))


def test_a_viewer_is_offered_nothing_to_press(
    pages: Client, details: list[str]
) -> None:
    for page in details:
        seen = text(pages.get(f"/signals/{page}"))
        assert 'method="post"' not in seen, page
        assert "operations/new/" not in seen


def test_pages_are_not_changed_by_posts(operator: Client, details: list[str]) -> None:
    for page in (*LISTS, *details):
        assert operator.post(f"/signals/{page}").status_code == 405


def test_no_page_lets_markup_through(operator: Client, details: list[str]) -> None:
    operations.annotate(FailureGroup.objects.get().pk, MARKUP, by=MARKUP)
    Worker.objects.create(name=MARKUP, queues=MARKUP, broker_error=MARKUP)
    Attempt.objects.update(error=MARKUP, traceback=MARKUP, worker=MARKUP)
    for page in (*LISTS, *details):
        assert "<script>alert" not in text(operator.get(f"/signals/{page}"))


def test_no_page_needs_an_exception_from_a_strict_policy(
    operator: Client, details: list[str]
) -> None:
    for page in (*LISTS, *details):
        seen = text(operator.get(f"/signals/{page}"))
        assert " style=" not in seen
        assert "<style" not in seen
        assert " onclick=" not in seen
        assert "<script>" not in seen


@pytest.mark.parametrize("page", ["events", "deliveries", "operations"])
def test_what_does_not_exist_is_not_found(pages: Client, page: str) -> None:
    nothing = "00000000-0000-7000-8000-000000000000"
    assert pages.get(f"/signals/{page}/{nothing}/").status_code == 404


@pytest.mark.parametrize("page", ["dead/nothing", "dead/a%00b", "receivers/a%00b"])
def test_names_that_nothing_can_have_are_not_found(pages: Client, page: str) -> None:
    assert pages.get(f"/signals/{page}/").status_code == 404


def test_many_groups_take_a_bounded_number_of_statements(pages: Client) -> None:
    for number in range(30):
        FailureGroup.objects.create(
            fingerprint=f"{number:016x}", receiver="t.many", error_type="ValueError"
        )
    found = statements_of(pages, "/signals/dead/?every=1")
    assert len(found) == 22  # the groups, all dead letters, and those of 20 groups
    assert "Groups that were seen earlier" in text(pages.get("/signals/dead/?every=1"))


def test_a_group_without_dead_letters_is_shown_only_if_it_is_asked_for(
    pages: Client, dead: Delivery, group: FailureGroup
) -> None:
    page = f"/signals/dead/{group.pk}/"
    assert page in text(pages.get("/signals/dead/"))
    finish(Delivery.objects.filter(pk=dead.pk), "discarded")
    assert page not in text(pages.get("/signals/dead/"))
    assert page in text(pages.get("/signals/dead/?every=1"))


def test_where_nothing_ran_no_number_is_told(pages: Client) -> None:
    seen = text(pages.get("/signals/"))
    assert "Nothing ran in the last hour." in seen
    assert "at most" not in seen
    assert "<svg" not in seen


def test_links_stay_in_the_outbox_of_the_page() -> None:
    context = template.Context({"database": "b", "databases": ["a", "b"]})
    assert link(context, "groups", receiver="t") == (
        "/signals/dead/?receiver=t&database=b"
    )
    context["database"] = "a"
    assert link(context, "groups", receiver="") == "/signals/dead/"


@pytest.mark.parametrize(
    "query",
    [
        "?before=x&since=x&until=2026-13-45",
        "?before=" + "9" * 40,
        "?before=%00&subject=%00&signal=%00&receiver=%00&by=%00&verb=%00",
        "?operation=x&search=%00",
        "?since=0001-01-01T00:00&until=9999-12-31T23:59&before=0001-01-01T00:00%2B10:00",
    ],
)
def test_filters_that_make_no_sense_are_left_out(pages: Client, query: str) -> None:
    for page in LISTS:
        text(pages.get(f"/signals/{page}{query}"))


# -- a delivery ---------------------------------------------------------------------


def test_a_delivery_tells_its_life(pages: Client, dead: Delivery) -> None:
    seen = text(pages.get(f"/signals/deliveries/{dead.pk}/"))
    assert "run 1, attempt 1 failed for good" in seen
    assert "<code>ValueError</code>: on purpose" in seen
    assert "Traceback (most recent call last)" in seen
    assert f"manage.py signal_tasks replay {dead.pk}" in seen
    assert "0 more dead" in seen


def test_a_delivery_tells_who_replayed_it(pages: Client, dead: Delivery) -> None:
    selection = Selection(ids=[dead.pk])
    operations.replay(selection, reason="mended", by="ada").work_off()
    run_pending()
    seen = text(pages.get(f"/signals/deliveries/{dead.pk}/"))
    assert "replay asked for by ada" in seen
    assert "run 2, attempt 1 failed for good" in seen


def test_a_delivery_counts_those_that_died_alike(
    pages: Client, failing: AsyncSignal
) -> None:
    die(failing, 3)
    some = Delivery.objects.order_by("pk")[0]
    assert "2 more dead" in text(pages.get(f"/signals/deliveries/{some.pk}/"))


def test_a_delivery_tells_that_it_succeeded(pages: Client, signal: AsyncSignal) -> None:
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    signal.send(sender=None)
    run_pending()
    first, second = Delivery.objects.order_by("receiver")
    seen = text(pages.get(f"/signals/deliveries/{first.pk}/"))
    assert "run 1, attempt 1" in seen
    assert f"/signals/deliveries/{second.pk}/" in seen


def test_a_running_delivery_tells_who_runs_it(
    pages: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.running")
    pk = send(signal).id
    worker = Worker.objects.create(name="celery@here")
    Delivery.objects.claim([pk], names=["t.running"], lease=60, worker=worker.pk)
    seen = text(pages.get(f"/signals/deliveries/{pk}/"))
    assert "runs on celery@here" in seen
    seen = text(pages.get("/signals/workers/"))
    assert "Holds 1 delivery" in seen


def test_a_paused_delivery_tells_by_whom_and_why(
    pages: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.paused")
    pk = send(signal).id
    operations.pause("receiver:t.paused", reason="stocktaking", by="ada")
    HeldDelivery.objects.create(delivery_id=pk, receiver="t.paused", why=Hold.PAUSED)
    seen = text(pages.get(f"/signals/deliveries/{pk}/"))
    assert "It is paused." in seen
    assert "stocktaking" in seen
    assert "by ada" in seen


def test_a_blocked_delivery_names_the_one_before_it(
    pages: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.ordered", ordered=True)
    for _ in range(2):
        signal.using(key="k").send(sender=None)
    first, second = Delivery.objects.order_by("pk")
    finish(Delivery.objects.filter(pk=first.pk), "dead")
    seen = text(pages.get(f"/signals/deliveries/{second.pk}/"))
    assert "waits behind" in seen
    assert f"/signals/deliveries/{first.pk}/" in seen
    assert "1 behind it" in text(pages.get("/signals/blocked/"))


# -- the other pages ----------------------------------------------------------------


def test_dead_letters_are_listed_by_their_error(
    pages: Client, failing: AsyncSignal
) -> None:
    die(failing, 3)
    seen = text(pages.get("/signals/dead/"))
    assert "3 dead letters" in seen
    assert "on purpose" in seen
    other = text(pages.get("/signals/dead/", {"receiver": "t.other"}))
    assert "No group has dead letters." in other


def test_dead_letters_are_found_by_a_part_of_their_receiver(
    pages: Client, failing: AsyncSignal
) -> None:
    die(failing, 2)
    seen = text(pages.get("/signals/dead/", {"receiver": "T.FAILI"}))
    assert "2 dead letters of t.<wbr>failing" in seen
    assert "on purpose" in seen


def test_the_name_of_a_receiver_is_not_a_part_of_another(
    pages: Client, failing: AsyncSignal, signal: AsyncSignal
) -> None:
    listen(signal, name="t.fail")
    die(failing, 1)
    seen = text(pages.get("/signals/dead/", {"receiver": "t.fail"}))
    assert "0 dead letters of t.<wbr>fail<" in seen


def test_dead_letters_of_a_receiver_of_other_code_are_found_by_its_name(
    pages: Client, failing: AsyncSignal
) -> None:
    die(failing, 1)
    Delivery.objects.update(receiver="t.fail")
    seen = text(pages.get("/signals/dead/", {"receiver": "t.fail"}))
    assert "1 dead letter of t.<wbr>fail<" in seen


@pytest.mark.parametrize("page", ["dead", "blocked"])
def test_a_part_that_too_many_receivers_have_is_told(
    pages: Client, dead: Delivery, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "MAX_NAMES", 1)
    told = "More than 1 receivers have t.<wbr> in their name"
    assert told not in text(pages.get(f"/signals/{page}/", {"receiver": "t."}))
    FailureGroup.objects.create(pk="0" * 16, receiver="t.two", error_type="KeyError")
    seen = text(pages.get(f"/signals/{page}/", {"receiver": "t."}))
    assert told in seen
    assert "use a longer part" in seen


def test_the_page_of_a_receiver_of_other_code_shows_no_failures_of_others(
    pages: Client, dead: Delivery
) -> None:
    assert "on purpose" in text(pages.get("/signals/receivers/t.failing/"))
    assert "on purpose" not in text(pages.get("/signals/receivers/t.fail/"))


def test_blocked_keys_of_a_receiver_of_other_code_are_found_by_its_name(
    pages: Client, behind: Delivery, signal: AsyncSignal
) -> None:
    listen(signal, name="t.ship_v2")
    Delivery.objects.update(receiver="t.ship")
    for given in ("t.ship", "SHIP"):
        seen = text(pages.get("/signals/blocked/", {"receiver": given}))
        assert "1 behind it" in seen


def test_blocked_keys_are_found_by_a_part_of_their_receiver(
    pages: Client, behind: Delivery
) -> None:
    seen = text(pages.get("/signals/blocked/", {"receiver": "order"}))
    assert "1 behind it" in seen
    other = text(pages.get("/signals/blocked/", {"receiver": "other"}))
    assert "No key of other is blocked." in other


def test_a_group_shows_a_sample_and_its_note(
    pages: Client, group: FailureGroup
) -> None:
    operations.annotate(group.pk, "the mail server is down", by="ada")
    seen = text(pages.get(f"/signals/dead/{group.pk}/"))
    assert "the mail server is down" in seen
    assert "Traceback (most recent call last)" in seen
    assert f"manage.py signal_tasks replay --group {group.pk}" in seen


def test_the_catalogue_says_who_listens_and_where(
    pages: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.listed", rate_limit="100/m")
    seen = text(pages.get("/signals/receivers/", {"search": signal.name}))
    assert "t.listed" in seen
    assert "rate_limit: 100/m" in seen
    assert "tests.signal_tasks.conftest, line" in seen
    assert "t.listed" not in text(
        pages.get("/signals/receivers/", {"search": "no such name"})
    )


def test_a_receiver_tells_what_it_has_to_do(
    pages: Client, failing: AsyncSignal
) -> None:
    die(failing, 2)
    failing.send(sender=None)
    operations.pause("receiver:t.failing", reason="calm", by="ada")
    seen = text(pages.get("/signals/receivers/t.failing/"))
    assert "<b>1</b> due" in seen
    assert "<b>2</b> dead" in seen
    assert "calm" in seen
    assert "manage.py signal_tasks pause receiver:t.failing" in seen


@pytest.fixture
def behind(signal: AsyncSignal) -> Delivery:
    """A delivery of t.ordered that waits behind a dead letter of its key."""
    listen(signal, name="t.ordered", ordered=True)
    for _ in range(2):
        signal.using(key="the key").send(sender=None)
    first, second = Delivery.objects.order_by("pk")
    finish(Delivery.objects.filter(pk=first.pk), "dead")
    second.refresh_from_db()
    waits: Delivery = second
    return waits


def test_the_overview_does_not_call_due_what_waits_for_its_turn(
    pages: Client, behind: Delivery
) -> None:
    seen = text(pages.get("/signals/"))
    assert "<b>0</b> due" in seen
    assert '<b>1</b> <a href="/signals/blocked/">wait for their turn</a>' in seen
    assert '"/signals/blocked/?receiver=t.ordered">1 wait for their turn</a>' in seen


@pytest.fixture
def held(signal: AsyncSignal) -> Delivery:
    """A delivery of the ordered t.paused that is held, and has nothing before it."""
    listen(signal, name="t.paused", ordered=True)
    signal.using(key="the key").send(sender=None)
    row: Delivery = Delivery.objects.get()
    operations.pause("receiver:t.paused", reason="stocktaking", by="ada")
    HeldDelivery.objects.create(pk=row.pk, receiver="t.paused", why=Hold.PAUSED)
    return row


def test_the_overview_leads_from_what_is_held_to_what_holds_it(
    pages: Client, held: Delivery
) -> None:
    seen = text(pages.get("/signals/"))
    words = "are held, or wait for their turn</a>"
    assert f'<b>1</b> <a href="/signals/receivers/">{words}' in seen
    assert f'"/signals/receivers/t.paused/">1 {words}' in seen
    for page in ("receivers/", "receivers/t.paused/"):
        assert "stocktaking" in text(pages.get(f"/signals/{page}"))


def test_a_receiver_leads_to_blocked_keys_only_if_it_has_some(
    pages: Client, held: Delivery, signal: AsyncSignal
) -> None:
    link = "/signals/blocked/?receiver=t.paused"
    signal.using(key="the key").send(sender=None)
    seen = text(pages.get("/signals/receivers/t.paused/"))
    assert "<b>2</b> are held, or wait for their turn" in seen
    assert ">waits for its turn</span>" in seen
    assert link not in seen
    finish(Delivery.objects.filter(pk=held.pk), "dead")
    seen = text(pages.get("/signals/receivers/t.paused/"))
    assert seen.count(link) == 2


@pytest.mark.parametrize("state", ["pending", "dead"])
def test_a_long_key_is_cut_where_it_is_shown_and_not_where_it_was_escaped(
    pages: Client, signal: AsyncSignal, state: str
) -> None:
    listen(signal, name="t.ordered", ordered=True)
    key = f"customers/O'Brien & Sons 'Limited' <main> {'x' * 20}"
    signal.using(key=key).send(sender=None)
    if state == "dead":
        finish(Delivery.objects.all(), state)
    seen = text(pages.get("/signals/receivers/t.ordered/"))
    assert len(html.escape(key)) > 80
    assert f">{html.escape(key)}" in seen
    assert "…</a>" not in seen


def test_a_receiver_does_not_call_due_what_waits_for_its_turn(
    pages: Client, behind: Delivery
) -> None:
    seen = text(pages.get("/signals/receivers/t.ordered/"))
    assert "<b>0</b> due" in seen
    assert "wait for their turn</a>" in seen
    assert "waits for its turn</a>" in seen
    assert ", due 2" not in seen


def test_a_delivery_without_a_subject_is_listed_by_its_key(
    pages: Client, behind: Delivery
) -> None:
    seen = text(pages.get("/signals/receivers/t.ordered/"))
    assert f'href="/signals/deliveries/{behind.pk}/">the key</a>' in seen
    dead = Delivery.objects.dead().get()
    assert f'href="/signals/deliveries/{dead.pk}/">the key</a>' in seen


def test_a_dead_letter_of_a_group_is_listed_by_its_key(
    pages: Client, signal: AsyncSignal
) -> None:
    def fail(sender: object, **kwargs: Any) -> None:
        raise ValueError("on purpose")

    once = RetryPolicy(max_attempts=1)
    signal.connect(fail, name="t.in_order", weak=False, ordered=True, retry=once)
    signal.using(key="the key").send(sender=None)
    run_pending()
    group = FailureGroup.objects.get()
    assert ">the key</a>" in text(pages.get(f"/signals/dead/{group.pk}/"))


def test_a_receiver_has_its_options_and_its_actions_before_its_rows(
    pages: Client, signal: AsyncSignal
) -> None:
    once = RetryPolicy(max_attempts=1)
    options: dict[str, Any] = {"ordered": True, "rate_limit": "100/m", "retry": once}
    listen(signal, name="t.chosen", **options)
    signal.using(key="k").send(sender=None)
    finish(Delivery.objects.all(), "dead")
    seen = text(pages.get("/signals/receivers/t.chosen/"))
    assert "ordered: True" in seen
    assert "rate_limit: 100/m" in seen
    assert "max_attempts 1" in seen
    assert seen.index("<h2>Actions</h2>") < seen.index("<h2>Pending and running</h2>")


def test_a_receiver_of_other_code_is_shown(pages: Client, dead: Delivery) -> None:
    Delivery.objects.update(receiver="t.renamed")
    seen = text(pages.get("/signals/receivers/t.renamed/"))
    assert "This web process does not know it" in seen
    assert "<b>1</b> dead" in seen


def test_a_worker_that_is_silent_is_gone(pages: Client) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    Worker.objects.create(name="celery@old", seen_at=long_ago, queues="email")
    Worker.objects.create(name="celery@new")
    seen = text(pages.get("/signals/workers/"))
    assert "1 live worker" in seen
    assert seen.index("celery@new") < seen.index("gone")


def test_the_log_is_filtered_by_what_and_by_whom(pages: Client, dead: Delivery) -> None:
    operations.pause("receiver:t.failing", reason="calm", by="ada")
    operations.resume("receiver:t.failing", by="grace")
    seen = text(pages.get("/signals/log/", {"by": "grace"}))
    assert "manage.py signal_tasks resume receiver:t.failing --by grace" in seen
    assert "calm" not in seen


def test_long_lists_go_on_with_older_rows(pages: Client) -> None:
    for number in range(51):
        AuditEntry.objects.create(verb="pause", target=f"receiver:t{number}.")
    seen = text(pages.get("/signals/log/"))
    assert "receiver:t50." in seen
    assert "receiver:t0." not in seen
    oldest_shown = AuditEntry.objects.order_by("pk")[1].pk
    older = text(pages.get("/signals/log/", {"before": oldest_shown}))
    assert "receiver:t0." in older
    assert "receiver:t1." not in older


def test_an_event_shows_what_caused_it_and_what_it_caused(
    pages: Client, signal: AsyncSignal
) -> None:
    effect = AsyncSignal(name=f"{signal.name}.effect")
    listen(effect, name="t.effect")

    def react(sender: object, **kwargs: Any) -> None:
        effect.send(sender=None)

    signal.connect(react, name="t.react", weak=False)
    signal.send(sender=None)
    run_pending()
    cause, caused = Event.objects.order_by("pk")
    assert f"/signals/events/{caused.pk}/" in text(
        pages.get(f"/signals/events/{cause.pk}/")
    )
    seen = text(pages.get(f"/signals/events/{caused.pk}/"))
    assert f"/signals/events/{cause.pk}/" in seen
    assert "<svg" in seen


def test_events_are_searched_by_time(pages: Client, signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    link = f"/signals/events/{Event.objects.get().pk}/"
    now = timezone.now()
    soon, before = now + timedelta(minutes=1), now - timedelta(minutes=1)
    for query, is_found in (
        ({"since": before.isoformat()}, True),
        ({"since": soon.isoformat()}, False),
        ({"until": soon.isoformat()}, True),
        ({"until": before.isoformat()}, False),
    ):
        assert (link in text(pages.get("/signals/events/", query))) is is_found


def test_events_of_a_signal_are_looked_for_among_the_latest_and_then_further(
    pages: Client, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_SEARCHED", 2)
    other = AsyncSignal(name=f"{signal.name}.other")
    for each in (signal, other, other, other):
        listen(each)
        each.send(sender=None)
    wanted = f"/signals/events/{Event.objects.order_by('pk')[0].pk}/"
    seen = text(pages.get("/signals/events/", {"signal": signal.name}))
    assert wanted not in seen
    assert "No event matches among those that were searched" in seen
    (older,) = re.findall(r'<a href="([^"]*)">Older events', seen)
    assert wanted in text(pages.get(f"/signals/events/{html.unescape(older)}"))


def test_objects_are_linked_to_the_admin_for_who_may_see_them(
    pages: Client, signal: AsyncSignal
) -> None:
    listen(signal)
    about = User.objects.create_user("about")
    signal.send(sender=None, user=about)
    page = f"/signals/events/{Event.objects.get().pk}/"
    link = f"/admin/auth/user/{about.pk}/change/"
    assert link not in text(pages.get(page))
    root = logged_in(User.objects.create_superuser("root"))
    assert link in text(root.get(page))


@pytest.mark.parametrize("key", ["sku_22", "a/b", "50%", "_5F"])
def test_the_link_to_an_object_leads_to_it_whatever_its_key(
    key: str, signal: AsyncSignal
) -> None:
    listen(signal)
    group = FailureGroup.objects.create(pk=key, receiver="t.r", error_type="KeyError")
    signal.send(sender=None, group=group)
    root = logged_in(User.objects.create_superuser("root"))
    page = text(root.get(f"/signals/events/{Event.objects.get().pk}/"))
    (link,) = set(re.findall(r'"(/admin/signal_tasks/failuregroup/[^"]*)"', page))
    assert "Change" in text(root.get(html.unescape(link)))
