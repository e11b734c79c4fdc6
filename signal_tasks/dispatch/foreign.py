"""Facts about signals that are not ours: which can have durable receivers, and how."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

#: Django's signals that have no durable meaning, with the reason and the way out.
REFUSED = {
    "pre_init": "it tells of an object in memory; use post_save",
    "post_init": "it tells of an object in memory; use post_save",
    "pre_save": "what it tells of may not happen; use post_save",
    "pre_delete": "what it tells of may not happen; use post_delete, whose "
    "instance travels as a snapshot",
    "pre_migrate": "what it tells of may not happen; use post_migrate, inline",
    "post_migrate": "its sender, an AppConfig, cannot travel; connect it inline",
    "class_prepared": "it is sent while the apps are loaded, before any database",
    "request_started": "it belongs to one process and request; connect it inline",
    "request_finished": "it belongs to one process and request, and nothing is "
    "committed with it; connect it inline, or send a signal of your own in the view",
    "got_request_exception": "its transaction is rolled back, and with it the "
    "delivery; connect it inline",
    "connection_created": "it belongs to one process; connect it inline",
    "setting_changed": "it belongs to one test process; connect it inline",
    "template_rendered": "it belongs to one test process; connect it inline",
}
#: Arguments that signals of Django always have, and that need not be able to travel.
USUAL: dict[str, dict[str, type]] = {
    f"django.contrib.auth.signals.{name}": {"request": HttpRequest}
    for name in ("user_logged_in", "user_logged_out", "user_login_failed")
}
#: Signals whose instances no longer exist when a receiver runs.
SNAPSHOT = frozenset({"django.db.models.signals.post_delete"})


def refuse_meaningless(name: str) -> None:
    """Refuse a signal that has no durable meaning."""
    module, _, attribute = name.rpartition(".")
    reason = REFUSED.get(attribute) if module.startswith("django.") else None
    if reason is None and attribute.startswith("pre_"):
        reason = "what it tells of may not happen; use its post_ counterpart"
    if reason is not None:
        raise ImproperlyConfigured(
            f"{name} cannot have durable receivers: {reason}. For an inline receiver "
            "use django.dispatch.receiver."
        )
