"""Sentences that say why a delivery is held back, for its page."""

from __future__ import annotations

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from signal_tasks.models import Delivery, HeldDelivery
from signal_tasks.states import Hold, State
from signal_tasks.steering.keys import place_of


def held_back_by(delivery: Delivery) -> SafeString:
    """Return why a delivery does not start, or what waits for it, or a dash."""
    database = delivery._state.db or "default"
    holds: list[Hold] = []
    if delivery.state == State.PENDING:
        rows = HeldDelivery.objects.using(database).filter(pk=delivery.pk)
        holds = [Hold(row.why) for row in rows]
    place = _place(delivery, database, is_held=bool(holds))
    found = [(text,) for text in (place, *(hold.label for hold in holds)) if text]
    return format_html_join("", "<div>{}</div>", found or [("-",)])


def _head(delivery: Delivery, key: str, *, is_held: bool) -> SafeString:
    """Return the words for a delivery that is the first one of its key."""
    is_dead = delivery.state == State.DEAD
    words = (
        _("it holds back the others of the key %s")
        if is_dead
        else _("it is the next one of the key %s")
    )
    text = words % key
    return format_html("{}", text if is_held else _("nothing; %s") % text)


def _place(delivery: Delivery, database: str, *, is_held: bool) -> SafeString | None:
    """Return the key of an ordered delivery, and the one that it waits behind."""
    place = place_of(delivery.pk, database)
    if not place:
        return None
    key = _("key %s") % place["key"]
    first = place["waits_behind"]
    if first is None:
        return _head(delivery, place["key"], is_held=is_held)
    page = reverse("admin:signal_tasks_delivery_change", args=[first["delivery"]])
    behind = _("waits behind a delivery that is %s") % first["state"]
    return format_html('{}, <a href="{}">{}</a>', key, page, behind)
