"""Middleware of the shop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import unquote_plus

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.template.loader import render_to_string
from django.views.defaults import page_not_found, server_error

from shop.access import is_demo

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


def own_error_pages(get_response: Respond) -> Respond:
    """Show the shop's own pages of errors in a demo, in place of Django's for developers.

    Those name settings and code. The error stands in the log; ``SHOP_DEMO=0`` shows
    Django's pages again.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not is_demo() or response.status_code not in (404, 500):
            return response
        if response.status_code == 404:
            return page_not_found(request, Http404())
        return server_error(request)

    return respond


def refuse_nul(get_response: Respond) -> Respond:
    """Answer 400 to a request with a NUL character in its path, query, cookies or form.

    PostgreSQL refuses NUL in every text, so each lookup by such a value would be an
    error 500. Browsers never send it.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        if any("\0" in text for text in _texts(request)):
            raise BadRequest("The request contains a NUL character.")
        return get_response(request)

    return respond


def _texts(request: HttpRequest) -> Iterator[str]:
    yield request.path_info
    yield unquote_plus(request.META.get("QUERY_STRING", ""))
    yield from request.COOKIES.values()
    try:
        for key, values in request.POST.lists():
            yield from (key, *map(str, values))
    except UnreadablePostError as error:
        raise BadRequest("The client went away while it sent the form.") from error


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
