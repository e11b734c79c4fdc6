"""Forms of the customers app."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import RegexValidator

from customers.pictures import portrait


def _known_as(kind: str) -> dict[str, str]:
    return {"autocomplete": kind}


# Names are shown to others: no links in them.
no_links = RegexValidator(
    r"[/:<>@]", "Please leave out the characters / : < > @.", inverse_match=True
)


class NamesForm(forms.Form):
    """First and last name, both optional."""

    first_name = forms.CharField(
        required=False,
        max_length=150,
        validators=[no_links],
        widget=forms.TextInput(attrs=_known_as("given-name")),
    )
    last_name = forms.CharField(
        required=False,
        max_length=150,
        validators=[no_links],
        widget=forms.TextInput(attrs=_known_as("family-name")),
    )


class AddressForm(forms.Form):
    """The address with which an account is to be made."""

    email = forms.EmailField(
        label="Email address",
        max_length=254,
        widget=forms.EmailInput(attrs=_known_as("email")),
    )


class RegistrationForm(NamesForm, UserCreationForm):  # type: ignore[type-arg]
    """A new account: Django's form, and names. The address comes from the link."""

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name")

    field_order = Meta.fields


class ProfileForm(NamesForm):
    """The parts of an account that its user may change.

    The address is not one of them: a new one would have to be proved first.
    """

    picture = forms.FileField(
        required=False,
        help_text="JPEG, PNG or WebP, 5 MB at most. Shown beside your reviews.",
        widget=forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp"}),
    )
    remove_picture = forms.BooleanField(required=False)

    def __init__(self, *args: Any, has_picture: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not has_picture:
            del self.fields["remove_picture"]

    def clean_picture(self) -> ContentFile[bytes] | None:
        """Return a small copy of the picture."""
        upload: UploadedFile[bytes] | None = self.cleaned_data["picture"]
        return portrait(upload) if upload else None


class SubscriptionForm(forms.Form):
    """The address that is to get the newsletter, or to leave it."""

    user_email = forms.EmailField(
        label="Your email address",
        max_length=254,
        error_messages={
            "required": "Please give an email address.",
            "invalid": "This is not an email address.",
        },
        widget=forms.EmailInput(attrs=_known_as("email")),
    )
