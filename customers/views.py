"""Accounts: to make one, to see and change one's own."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from customers import services
from customers.forms import ProfileForm, RegistrationForm
from customers.models import CustomerProfile

PROFILE = "customers/profile.html"


@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Make an account, and sign its owner in."""
    if request.user.is_authenticated:
        return redirect("profile")
    form = RegistrationForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and (user := _registered(form)):
        login(request, user)
        messages.success(request, f"Welcome, {_called(user)}! We have written you.")
        return redirect("profile")
    status = 422 if form.is_bound else 200
    return render(request, "customers/register.html", {"form": form}, status=status)


def _called(user: User) -> str:
    return user.first_name or user.get_username()


def _registered(form: RegistrationForm) -> User | None:
    fields = ("username", "email", "first_name", "last_name")
    given = {field: form.cleaned_data[field] for field in fields}
    try:
        return services.register(**given, password=form.cleaned_data["password1"])
    except services.Taken as taken:
        form.add_error(taken.field, str(taken))
        return None


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Show one's own account, and change it."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - login_required saw to it
    found = CustomerProfile.objects.filter(user=user).first()
    has_picture = bool(found and found.picture)
    if request.method != "POST":
        names = {"first_name": user.first_name, "last_name": user.last_name}
        form = ProfileForm(initial=names, has_picture=has_picture)
        return render(request, PROFILE, {"form": form, "profile": found})
    form = ProfileForm(request.POST, request.FILES, has_picture=has_picture)
    if not form.is_valid():
        context = {"form": form, "profile": found}
        return render(request, PROFILE, context, status=422)
    _change(user, **form.cleaned_data)
    messages.success(request, "Your profile is changed.")
    return redirect("profile")


def _change(
    user: User,
    *,
    first_name: str,
    last_name: str,
    picture: ContentFile[bytes] | None,
    remove_picture: bool = False,
) -> None:
    services.rename(user=user, first_name=first_name, last_name=last_name)
    if picture or remove_picture:
        services.change_picture(user=user, picture=picture)
