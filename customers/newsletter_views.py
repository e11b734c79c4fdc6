"""The newsletter's pages; to a program that asks for JSON they answer in JSON."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from customers import newsletter
from customers.forms import SubscriptionForm
from customers.proof_views import claim_or_404, too_many
from customers.proofs import Purpose, request_proof

PAGE = "customers/newsletter.html"
SUBSCRIBE = "A link is on its way to {}: open it to get the newsletter."
UNSUBSCRIBE = "If {} gets the newsletter, we have sent it the link by which to leave."


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the form, with the address of a signed-in user."""
    address = getattr(request.user, "email", "")
    form = SubscriptionForm(initial={"user_email": address})
    return render(request, PAGE, {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def subscribe(request: HttpRequest) -> HttpResponse:
    """Send the link by which an address subscribes."""
    return _answer(request, Purpose.NEWSLETTER, SUBSCRIBE)


@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest) -> HttpResponse:
    """Send the link by which an address leaves."""
    return _answer(request, Purpose.LEAVE, UNSUBSCRIBE)


def _answer(request: HttpRequest, purpose: Purpose, text: str) -> HttpResponse:
    """Ask for the link, and answer the same whether the address is known or not."""
    if request.method != "POST":
        return page(request)
    form = SubscriptionForm(request.POST)
    as_json = _wants_json(request)
    if not form.is_valid():
        return _refusal(request, form, as_json=as_json)
    address = form.cleaned_data["user_email"]
    if not request_proof(request, email=address, purpose=purpose):
        return too_many(request, as_json=as_json)
    if as_json:
        return JsonResponse({"message": text.format(address)})
    messages.success(request, text.format(address))
    return redirect("newsletter")


def _refusal(
    request: HttpRequest, form: SubscriptionForm, *, as_json: bool
) -> HttpResponse:
    if as_json:
        return JsonResponse({"errors": form.errors}, status=400)
    return render(request, PAGE, {"form": form}, status=400)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Ask the owner of an address on GET, for programs follow links; subscribe on POST."""
    claim = claim_or_404(token, Purpose.NEWSLETTER)
    if request.method != "POST":
        return render(request, "customers/join.html", {"claim": claim})
    newsletter.subscribe(email=claim.email)
    messages.success(request, f"{claim.email} gets the newsletter.")
    return redirect("newsletter")


@csrf_exempt  # a mail program presses this button, with no cookie: see RFC 8058
@require_http_methods(["GET", "HEAD", "POST"])
def leave(request: HttpRequest, token: str) -> HttpResponse:
    """Ask the subscriber on GET, for programs follow links; unsubscribe on POST."""
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
