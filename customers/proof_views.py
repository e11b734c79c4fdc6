"""The page of a proof link, and the answer to who asks for too many emails."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from customers.proofs import Claim, Purpose, accept

TOO_MANY = "Too many emails were requested from here. Please try again in an hour."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def prove(request: HttpRequest, token: str) -> HttpResponse:
    """Ask the owner of an address on GET, for programs follow links; accept on POST."""
    claim = claim_or_404(token, Purpose.ADDRESS)
    if request.method != "POST":
        return render(request, "customers/prove.html", {"claim": claim})
    accept(claim)
    messages.success(
        request, f"{claim.email} is yours. Now go on where you typed it: confirm there."
    )
    return redirect("orders")


def claim_or_404(token: str, purpose: Purpose) -> Claim:
    """Return the claim of a link, or answer 404."""
    claim = Claim.read(token, purpose)
    if claim is None:
        raise Http404("This link is not ours, or too old.")
    return claim


def too_many(request: HttpRequest, *, as_json: bool = False) -> HttpResponse:
    """Answer 429."""
    if as_json:
        return JsonResponse({"errors": {"__all__": [TOO_MANY]}}, status=429)
    return render(request, "429.html", {"reason": TOO_MANY}, status=429)
