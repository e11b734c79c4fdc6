"""What people fill in: the operation dialogue, controls and notes."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django import forms

from signal_tasks.commands import times
from signal_tasks.registry.options import per_second

#: Above so many deliveries, the number has to be typed.
TYPED_ABOVE = 1000
MAX_REASON = 1000


class OperationForm(forms.Form):
    """Why, and how carefully; above a thousand, the number as well."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For the audit trail: what happened, what was mended.",
    )
    canary = forms.BooleanField(
        required=False,
        label="Go in growing steps",
        help_text="1, 2, 5, 20, 100 deliveries and so on; the next step only after "
        "95 % of the last one have succeeded. Else it stops and says why.",
    )
    rate = forms.CharField(
        required=False,
        max_length=32,
        help_text="Deliveries a second, or as 100/m. Empty: as fast as relays can.",
        widget=forms.TextInput(attrs={"placeholder": "100/m"}),
    )
    typed = forms.CharField(label="Number of deliveries", required=False)

    def __init__(self, data: Any = None, *, verb: str, number: int) -> None:
        super().__init__(data, initial={"canary": number > 100}, label_suffix="")
        self.number = number
        if verb == "discard":
            del self.fields["canary"]
        if number <= TYPED_ABOVE:
            del self.fields["typed"]
        else:
            self.fields["typed"].help_text = f"Type {number} to confirm."

    def clean_rate(self) -> str:
        """Refuse what is no rate."""
        rate: str = self.cleaned_data["rate"].strip()
        try:
            if rate:
                per_second(rate)
        except (ValueError, TypeError) as error:
            raise forms.ValidationError(str(error)) from error
        return rate

    def clean_typed(self) -> str:
        """Refuse another number than the one on the page."""
        typed: str = self.cleaned_data["typed"].replace(",", "").replace(" ", "")
        if typed != str(self.number):
            raise forms.ValidationError(f"Type {self.number} to confirm.")
        return typed


class ControlForm(forms.Form):
    """A pause or a limit of a target, or its end."""

    verb = forms.ChoiceField(
        choices=[(each, each) for each in ("pause", "resume", "limit", "clear")]
    )
    target = forms.CharField(max_length=264)
    until = forms.CharField(required=False, max_length=64)
    rate = forms.CharField(required=False, max_length=32)
    max_concurrency = forms.IntegerField(required=False, min_value=1)
    reason = forms.CharField(required=False, max_length=MAX_REASON)

    def clean_until(self) -> datetime | timedelta | None:
        """Read a moment that has not come yet, or how long it is until then."""
        text = self.cleaned_data["until"].strip()
        try:
            return times.ahead(text) if text else None
        except ArgumentTypeError as error:
            raise forms.ValidationError(str(error)) from error


class NoteForm(forms.Form):
    """A note on a failure group; an empty one removes it."""

    note = forms.CharField(required=False, max_length=10_000)


class ReasonForm(forms.Form):
    """Why an operation is cancelled or resumed."""

    reason = forms.CharField(required=False, max_length=MAX_REASON)
