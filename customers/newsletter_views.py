"""The newsletter's pages; to a program that asks for JSON they answer in JSON."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from customers import newsletter
from customers.forms import SubscriptionForm

PAGE = "customers/newsletter.html"


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the form, with one's own address in it if one is signed in."""
    address = getattr(request.user, "email", "")
    form = SubscriptionForm(initial={"user_email": address})
    return render(request, PAGE, {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def subscribe(request: HttpRequest) -> HttpResponse:
    """Send the newsletter to an address."""
    return _answer(request, newsletter.subscribe, "{} gets the newsletter.")


@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest) -> HttpResponse:
    """Send the newsletter to an address no more."""
    return _answer(request, newsletter.unsubscribe, "{} gets the newsletter no more.")


def _answer(
    request: HttpRequest, change: Callable[..., bool], said: str
) -> HttpResponse:
    """Do it, and say the same whether there was something to do.

    Else anybody could find out here whose address is known to us.
    """
    if request.method != "POST":
        return page(request)
    form = SubscriptionForm(request.POST)
    as_json = _wants_json(request)
    if not form.is_valid():
        if as_json:
            return JsonResponse({"errors": form.errors}, status=400)
        return render(request, PAGE, {"form": form}, status=400)
    address = form.cleaned_data["user_email"]
    change(email=address)
    if as_json:
        return JsonResponse({"message": said.format(address)})
    messages.success(request, said.format(address))
    return redirect("newsletter")


@csrf_exempt  # a mail program presses this button, with no cookie: see RFC 8058
@require_http_methods(["GET", "HEAD", "POST"])
def leave(request: HttpRequest, token: str) -> HttpResponse:
    """Let the owner of a link leave: GET asks, for programs follow links; POST does."""
    subscriber = newsletter.subscriber_of(token)
    if subscriber is None:
        raise Http404("This link is not ours, or not whole.")
    if request.method == "POST":
        newsletter.unsubscribe(email=subscriber.email)
        subscriber.refresh_from_db()
    return render(request, "customers/leave.html", {"subscriber": subscriber})


def _wants_json(request: HttpRequest) -> bool:
    preferred = request.get_preferred_type(["text/html", "application/json"])
    return preferred == "application/json"
