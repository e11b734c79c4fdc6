"""Links that stay in the outbox of the page; names and times as people read them."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from itertools import zip_longest
from typing import Any
from urllib.parse import quote, urlencode

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from signal_tasks.conf import settings

register = template.Library()

#: A command in a sentence: up to a semicolon, or to another choice.
COMMAND = re.compile(r"((?:manage\.py signal_tasks|celery -A) .+?)(?=;|, or |$)")
#: Units of an age, the longest first, in seconds.
UNITS = (("d", 86400), ("h", 3600), ("min", 60))


@register.simple_tag(takes_context=True)
def link(context: template.Context, name: str, *args: Any, **query: Any) -> str:
    """Return the address of a page: ``args`` in its path, ``query`` behind it.

    The outbox of the page goes along, unless it is the one that is shown by default.
    Empty values are left out.
    """
    given = {key: str(value) for key, value in query.items() if value}
    return _with(context, reverse(f"signal_tasks:{name}", args=args), given)


@register.simple_tag(takes_context=True)
def place(context: template.Context, page: str) -> str:
    """Return the address of a page that is given below that of the dashboard."""
    return _with(context, reverse("signal_tasks:overview") + quote(page), {})


def _with(context: template.Context, path: str, given: dict[str, str]) -> str:
    """Add a query to an address, and the outbox of the page if it has to be named."""
    database, known = context.get("database", ""), context.get("databases", ())
    if database and known and database != known[0]:
        given["database"] = database
    return f"{path}?{urlencode(given)}" if given else path


@register.filter
def breakable(name: object) -> SafeString:
    """Return a dotted name that a narrow screen breaks at its dots and underscores."""
    return mark_safe(re.sub("([._:])", r"\1<wbr>", escape(name)))  # noqa: S308 - escaped


@register.filter
def age(moment: datetime) -> str:
    """Return the time since a moment in its longest unit, as ``3 min``."""
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    for unit, length in UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@register.filter
def precise(moment: datetime) -> str:
    """Return a moment with its milliseconds, in the time zone of the page."""
    shown = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return shown.replace(tzinfo=None).isoformat(" ", "milliseconds")


@register.filter
def commands(sentence: str) -> SafeString:
    """Return a sentence whose commands stand out."""
    parts = COMMAND.split(sentence)
    shown = [format_html("<code>{}</code>", part) for part in parts[1::2]]
    return format_html_join("", "{}{}", zip_longest(parts[::2], shown, fillvalue=""))


@register.simple_tag
def flower_task(task_id: uuid.UUID | None) -> str:
    """Return Flower's page of a Celery task; empty if nobody knows either."""
    address = settings().FLOWER_URL
    return f"{address.rstrip('/')}/task/{task_id}" if address and task_id else ""


@register.simple_tag
def flower_tasks(receiver: str) -> str:
    """Return Flower's list of the tasks of a receiver; empty without a Flower."""
    address = settings().FLOWER_URL
    return f"{address.rstrip('/')}/tasks?name={quote(receiver)}" if address else ""
