"""Who may see which page: decorators of views.

A page that somebody may not see answers 404, as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def has_permission(request: HttpRequest, permission: str) -> bool:
    """Return True if the signed-in user has this permission, as the admin asks for it."""
    return request.user.has_perm(permission)


def is_demo() -> bool:
    """Return True where the shop is only tried out.

    Both settings are read with each request, and both are needed: forgetting one of
    them does no harm.
    """
    return bool(settings.DEBUG and settings.SHOP_DEMO)


def permission_or_demo(permission: str) -> Callable[[View[P]], View[P]]:
    """Answer 404 to everybody without this permission; being staff is not enough.

    In a demo, everybody may see the page.
    """
    return _only_if(lambda request: is_demo() or has_permission(request, permission))


def demo_only(view: View[P]) -> View[P]:
    """Answer 404 outside of a demo."""
    return _only_if(lambda request: is_demo())(view)


def _only_if(allowed: Callable[[HttpRequest], bool]) -> Callable[[View[P]], View[P]]:
    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            if not allowed(request):
                raise Http404
            return view(request, *args, **kwargs)

        return guarded

    return decorate
