"""Links that stay in the outbox of the page."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote, urlencode

from django import template
from django.urls import reverse

from signal_tasks.conf import settings

register = template.Library()


@register.simple_tag(takes_context=True)
def link(context: template.Context, name: str, *args: Any, **query: Any) -> str:
    """Return the address of a page: ``args`` in its path, ``query`` behind it.

    The outbox of the page goes along, unless it is the one that is shown by default.
    Empty values are left out.
    """
    given = {key: str(value) for key, value in query.items() if value}
    database, known = context.get("database", ""), context.get("databases", ())
    if database and known and database != known[0]:
        given["database"] = database
    path = reverse(f"signal_tasks:{name}", args=args)
    return f"{path}?{urlencode(given)}" if given else path


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
