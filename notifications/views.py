"""A page that sends a signal, and shows what its receivers answered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from customers.limits import Decision, spend
from customers.proof_views import too_many
from customers.proofs import Purpose, is_proved, request_proof
from notifications.forms import NotificationForm
from notifications.signals import notification
from signal_tasks import DeliveryHandle

PAGE = "notifications/notify.html"


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def notify(request: HttpRequest) -> HttpResponse:
    """Send an email to the user's own proved address, or by permission to any other."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - login_required made sure of it
    form = NotificationForm(user, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        status = 422 if form.is_bound else 200
        return render(request, PAGE, {"form": form}, status=status)
    if form.is_own() and not is_proved(email=user.email, user_id=user.pk, visitor=None):
        return _ask_for_proof(request, user.email)
    if spend(request, email=form.cleaned_data["email"]) is not Decision.SEND:
        return too_many(request)
    responses = _send(**form.cleaned_data)
    context = {
        "form": NotificationForm(user),
        "answers": [(_name(receiver), _text(answer)) for receiver, answer in responses],
        "deliveries": [answer for _, answer in responses if _is_delivery(answer)],
    }
    return render(request, PAGE, context)


def _ask_for_proof(request: HttpRequest, email: str) -> HttpResponse:
    if not request_proof(request, email=email, purpose=Purpose.ADDRESS):
        return too_many(request)
    text = f"A link is on its way to {email}: open it, then come back here."
    messages.info(request, text)
    return redirect("notify")


def _send(once: UUID | None, **arguments: Any) -> list[tuple[Any, Any]]:
    """Send the signal ``notification``; return each receiver with what it answered.

    Of a form that is submitted twice, the second answer is the first one's delivery.

    ``send_robust``, because the receiver beside the durable one fails: its exception
    is an answer among others. ``send`` would raise it, and send no email.
    """
    return notification.using(dedupe_key=once).send_robust(sender=User, **arguments)


def _is_delivery(response: object) -> bool:
    return isinstance(response, DeliveryHandle)


def _text(response: object) -> str:
    if isinstance(response, Exception):
        return f"{type(response).__name__}: {response}"
    return str(response)


def _name(receiver: object) -> str:
    return str(getattr(receiver, "__name__", receiver))
