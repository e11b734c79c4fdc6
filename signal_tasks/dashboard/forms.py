"""What people fill in: the operation dialogue, controls and notes."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django import forms

from signal_tasks.commands import times
from signal_tasks.operations.limiting import MAX_PLACES
from signal_tasks.registry.options import per_second

#: Above so many deliveries, the number has to be typed.
TYPED_ABOVE = 1000
MAX_REASON = 1000
NO_RATE = "Type a number of deliveries a second, or one such as 100/m or 5000/h."
NO_LIMIT = "Fill in Rate or At a time, or both. To end a limit, press Clear."


class ExplainedForm(forms.Form):
    """Why, which has to be said."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For the audit trail: what happened, what was mended.",
    )


class OperationForm(ExplainedForm):
    """Why, and how carefully; above a thousand, the number as well."""

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
        return _rate(self.cleaned_data["rate"])

    def clean_typed(self) -> str:
        """Refuse another number than the one on the page."""
        typed: str = self.cleaned_data["typed"].replace(",", "").replace(" ", "")
        if typed != str(self.number):
            raise forms.ValidationError(f"Type {self.number} to confirm.")
        return typed


def _rate(text: str) -> str:
    rate = text.strip()
    try:
        if rate:
            per_second(rate)
    except (ValueError, TypeError) as error:
        raise forms.ValidationError(NO_RATE) from error
    return rate


class ControlForm(forms.Form):
    """A pause or a limit of a target, or its end."""

    verb = forms.ChoiceField(
        choices=[(each, each) for each in ("pause", "resume", "limit", "clear")]
    )
    target = forms.CharField(max_length=264)
    until = forms.CharField(required=False, max_length=64)
    rate = forms.CharField(required=False, max_length=32)
    max_concurrency = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_PLACES,
        label="At a time",
        error_messages={
            "invalid": "Type a whole number, such as 4.",
            "min_value": "Type a number above 0.",
            "max_value": "Type a smaller number.",
        },
    )
    reason = forms.CharField(required=False, max_length=MAX_REASON, label="Why")

    def clean(self) -> dict[str, Any]:
        """Refuse a limit that limits nothing."""
        given: dict[str, Any] = self.cleaned_data
        is_empty = not (given.get("rate") or given.get("max_concurrency"))
        if given.get("verb") == "limit" and is_empty and not self.errors:
            raise forms.ValidationError(NO_LIMIT)
        return given

    def clean_rate(self) -> str:
        """Refuse what is no rate."""
        return _rate(self.cleaned_data["rate"])

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
    """Why something is done, which may be left out."""

    reason = forms.CharField(required=False, max_length=MAX_REASON)
