"""Who may see and do what: Django's users and permissions, asked on the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

View = Callable[..., HttpResponse]

#: The permission that lets somebody in.
VIEW = "signal_tasks.view_delivery"
#: The permission that each verb needs.
VERBS = {
    "replay": "signal_tasks.replay_delivery",
    "discard": "signal_tasks.discard_delivery",
    "skip": "signal_tasks.discard_delivery",
    "backfill": "signal_tasks.backfill_operation",
    "cancel": "signal_tasks.cancel_operation",
    "pause": "signal_tasks.pause_target",
    "limit": "signal_tasks.limit_target",
    "note": "signal_tasks.annotate_failuregroup",
    "acknowledge": "signal_tasks.annotate_failuregroup",
}


def may(request: HttpRequest, verb: str) -> bool:
    """Return True if this user may do so."""
    return bool(request.user.has_perm(VERBS[verb]))


def demand(request: HttpRequest, verb: str) -> None:
    """Raise ``PermissionDenied`` unless this user may do so."""
    if not may(request, verb):
        raise PermissionDenied(f"You may not {verb} deliveries.")


def verbs_of(request: HttpRequest) -> frozenset[str]:
    """Return what this user may do."""
    return frozenset(verb for verb in VERBS if may(request, verb))


def for_viewers(view: View) -> View:
    """Show the page to who may view deliveries; others log in, or are refused."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not request.user.has_perm(VIEW):
            raise PermissionDenied("You may not view deliveries.")
        return view(request, *args, **kwargs)

    return never_cache(guarded)


def page(view: View) -> View:
    """Make a page that changes nothing, for who may view deliveries."""
    return for_viewers(require_safe(view))


def asking(view: View) -> View:
    """Make a page that asks, and whose form comes back to it."""
    return for_viewers(
        csrf_protect(require_http_methods(["GET", "HEAD", "POST"])(view))
    )


def changing(page: Callable[..., str]) -> Callable[[View], View]:
    """Make the target of a form; the view asks for the permission that it needs.

    Who logs in after the form was sent comes by GET, and goes to the page of the form:
    ``page`` returns its address.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def target(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "POST":
                return view(request, *args, **kwargs)
            return redirect(page(request, *args, **kwargs))

        return asking(target)

    return decorate
