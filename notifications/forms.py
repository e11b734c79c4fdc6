"""The form of the page that sends a notification."""

from __future__ import annotations

from uuid import uuid4

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict

ANYBODY = "notifications.add_notification"


class NotificationForm(forms.Form):
    """The recipient: the user's own address, or by permission any other."""

    email = forms.EmailField(
        label="Email address",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    username = forms.CharField(max_length=150)
    # Of one page that was shown: a double click sends it twice.
    once = forms.UUIDField(required=False, initial=uuid4, widget=forms.HiddenInput)

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        initial = {"email": user.email, "username": user.get_username()}
        super().__init__(data, initial=initial)
        self.user = user

    def is_own(self) -> bool:
        """Return True if the email is to go to the user's own address."""
        return bool(self.cleaned_data["email"].lower() == self.user.email.lower())

    def clean_email(self) -> str:
        """Refuse the addresses of others without the permission to write to anybody."""
        email: str = self.cleaned_data["email"]
        if not self.user.has_perm(ANYBODY) and email.lower() != self.user.email.lower():
            raise forms.ValidationError("Please use your own address.")
        return email
