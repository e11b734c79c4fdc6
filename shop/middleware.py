"""Middleware of the shop."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

Respond = Callable[[HttpRequest], HttpResponse]


def alive(get_response: Respond) -> Respond:
    """Answer ``/alive/`` before all other middleware: this process serves requests.

    A probe inside a cluster knows neither the host name nor TLS. It must not restart a
    process because its database is down: ``/health/`` reports that.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        if request.path == "/alive/":
            return HttpResponse("alive\n", content_type="text/plain")
        return get_response(request)

    return respond


def name_methods(get_response: Respond) -> Respond:
    """Show a page that names the allowed methods when a method is refused."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code == 405 and not response.content:
            methods = response["Allow"].split(", ")
            page = render_to_string("405.html", {"methods": methods}, request)
            response.content = page.encode()
        return response

    return respond
