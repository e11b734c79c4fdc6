"""The page that Prometheus asks for metrics."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from signal_tasks.telemetry.metrics import has_token, render


@require_safe
@never_cache
def metrics_view(request: HttpRequest) -> HttpResponse:
    """Return the metrics to whoever may see them, else 401.

    That is a scraper with METRICS_TOKEN (``Authorization: Bearer ...``), or a user who
    is staff and has the permission to view deliveries.
    """
    if not _may_see(request):
        headers = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("Unauthorized\n", "text/plain", 401, headers=headers)
    text, content_type = render(request.headers.get("Accept", ""))
    return HttpResponse(text, content_type)


def _may_see(request: HttpRequest) -> bool:
    if has_token(request.headers.get("Authorization", "")):
        return True
    user = getattr(request, "user", None)
    if user is None or not (user.is_active and user.is_staff):
        return False
    return bool(user.has_perm("signal_tasks.view_delivery"))
