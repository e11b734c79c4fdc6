"""What happens before, and after, any page of the shop."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

Respond = Callable[[HttpRequest], HttpResponse]


def alive(get_response: Respond) -> Respond:
    """Answer ``/alive/`` first of all: whether this process serves, and no more.

    A probe inside a cluster knows neither the host name nor TLS, and a process must
    not be restarted because its database is down: that is for ``/health/`` to say.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        if request.path == "/alive/":
            return HttpResponse("alive\n", content_type="text/plain")
        return get_response(request)

    return respond


def name_methods(get_response: Respond) -> Respond:
    """Give the bare answer to a wrong method a page that names the right ones."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code == 405 and not response.content:
            methods = response["Allow"].split(", ")
            page = render_to_string("405.html", {"methods": methods}, request)
            response.content = page.encode()
        return response

    return respond
