"""Who may ask for which page: decorators of views."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def staff_only(view: View[P]) -> View[P]:
    """Let nobody else know that there is such a page."""
    return _only_if(lambda request: bool(getattr(request.user, "is_staff", False)))(
        view
    )


def demo_only(view: View[P]) -> View[P]:
    """Have no such page outside of a demonstration on somebody's own machine.

    Asked with each request, and both are needed: whoever forgets one is safe.
    """
    return _only_if(lambda request: settings.DEBUG and settings.SHOP_DEMO)(view)


def _only_if(may: Callable[[HttpRequest], bool]) -> Callable[[View[P]], View[P]]:
    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            if not may(request):
                raise Http404
            return view(request, *args, **kwargs)

        return guarded

    return decorate
