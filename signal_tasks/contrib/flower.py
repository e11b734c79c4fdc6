"""Lead from Flower to the dashboard: each task links to the pages of its deliveries.

In Flower's ``flowerconfig.py``::

    from signal_tasks.contrib.flower import link_deliveries

    link_deliveries("https://shop.example/signals/")

Flower escapes whatever a task is called with, so its page of a task is extended where
Flower makes it. Without that place, as another version may be, nothing is linked.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured

try:
    from flower import urls
    from flower.views.tasks import TaskView
    from tornado.escape import xhtml_escape
    from tornado.web import url
except ImportError as missing:
    raise ImproperlyConfigured("signal_tasks.contrib.flower needs flower") from missing

#: The page that Flower makes of a task, and where the links go.
PAGE, PLACE = "task.html", b'<dl class="detail-list">'
#: The arguments of a receiver's task, as ``broker.messages`` shows them.
ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ARGUMENTS = re.compile(rf"\(\[({ID}(?:, {ID})*).*\], '([^']+)'\)")


def link_deliveries(dashboard: str) -> None:
    """Link the deliveries on Flower's page of a task to the dashboard.

    Args:
        dashboard: the address under which the dashboard's URLs are included.
    """

    class LinkedTaskView(TaskView):  # type: ignore[misc]
        def render_string(self, template_name: str, **kwargs: Any) -> bytes:
            page: bytes = super().render_string(template_name, **kwargs)
            if template_name != PAGE:
                return page
            found = links(dashboard, getattr(kwargs.get("task"), "args", None))
            return page.replace(PLACE, found.encode() + PLACE, 1)

    for number, handler in enumerate(urls.handlers):
        if getattr(handler, "name", None) == "task":
            pattern = handler.regex.pattern
            urls.handlers[number] = url(pattern, LinkedTaskView, name="task")


def links(dashboard: str, arguments: object) -> str:
    """Return the links to the deliveries that the arguments of a task name."""
    found = ARGUMENTS.fullmatch(str(arguments))
    if found is None:
        return ""
    ids, database = found.groups()
    base = f"{dashboard.rstrip('/')}/deliveries"
    shown = [
        f'<a href="{xhtml_escape(f"{base}/{pk}/?database={quote(database)}")}">{pk}</a>'
        for pk in ids.split(", ")
    ]
    return f"<p>Deliveries on the dashboard: {', '.join(shown)}</p>"
