"""A page that sends a signal, and shows what its receivers answered."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from notifications.forms import NotificationForm
from notifications.signals import notification

PAGE = "notifications/notify.html"


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def notify(request: HttpRequest) -> HttpResponse:
    """Send the signal ``notification``.

    ``send_robust``, because a receiver beside the durable one fails: its exception is
    an answer among others. With ``send`` it would have been ours to deal with, and
    nobody would have been written to.
    """
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - login_required saw to it
    form = NotificationForm(user, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        status = 422 if form.is_bound else 200
        return render(request, PAGE, {"form": form}, status=status)
    responses = notification.send_robust(sender=User, **form.cleaned_data)
    answers = [(_name(receiver), _said(answer)) for receiver, answer in responses]
    return render(request, PAGE, {"form": form, "answers": answers})


def _said(response: object) -> str:
    if isinstance(response, Exception):
        return f"{type(response).__name__}: {response}"
    return str(response)


def _name(receiver: object) -> str:
    return str(getattr(receiver, "__name__", receiver))
