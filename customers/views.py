"""Accounts: register, see and change one's own."""

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
from customers.forms import AddressForm, ProfileForm, RegistrationForm
from customers.models import CustomerProfile
from customers.proof_views import claim_or_404, too_many
from customers.proofs import Claim, Purpose, request_proof

PROFILE = "customers/profile.html"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Send the link by which an account is made.

    The answer is the same whether the address has an account: only its owner learns
    that, by email.
    """
    if request.user.is_authenticated:
        return redirect("profile")
    form = AddressForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        status = 422 if form.is_bound else 200
        return render(request, "customers/register.html", {"form": form}, status=status)
    address = form.cleaned_data["email"]
    if not request_proof(request, email=address, purpose=Purpose.ACCOUNT):
        return too_many(request)
    messages.success(
        request, f"A link is on its way to {address}: open it to make your account."
    )
    return redirect("register")


@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def register_account(request: HttpRequest, token: str) -> HttpResponse:
    """Make an account with a proved address, and sign its owner in."""
    if request.user.is_authenticated:
        return redirect("profile")
    claim = claim_or_404(token, Purpose.ACCOUNT)
    data = request.POST if request.method == "POST" else None
    form = RegistrationForm(data, instance=User(email=claim.email))
    if form.is_valid() and (user := _registered(form, claim)):
        login(request, user)
        messages.success(
            request, f"Welcome, {_called(user)}! A welcome is on its way to you."
        )
        return redirect("profile")
    context, status = {"form": form, "claim": claim}, 422 if form.is_bound else 200
    return render(request, "customers/register_account.html", context, status=status)


def _called(user: User) -> str:
    return user.first_name or user.get_username()


def _registered(form: RegistrationForm, claim: Claim) -> User | None:
    given = {
        field: form.cleaned_data[field]
        for field in ("username", "first_name", "last_name")
    }
    try:
        return services.register(
            **given, email=claim.email, password=form.cleaned_data["password1"]
        )
    except services.Taken as taken:
        form.add_error(taken.field if taken.field in given else None, str(taken))
        return None


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Show the user's own account, or change it."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - login_required made sure of it
    found = CustomerProfile.objects.filter(user=user).first()
    has_picture = bool(found and found.picture)
    if request.method != "POST":
        names = {"first_name": user.first_name, "last_name": user.last_name}
        form = ProfileForm(initial=names, has_picture=has_picture)
        failed = not found and services.profile_has_failed(user=user)
        context = {"form": form, "profile": found, "has_failed": failed}
        return render(request, PROFILE, context)
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
