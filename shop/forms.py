"""The forms of the shop's pages."""

from __future__ import annotations

from django import forms

from products.models import Product
from shop.basket import MAX_QUANTITY


class LineForm(forms.Form):
    """One product, and how many."""

    product = forms.ModelChoiceField(
        Product.objects.all(), to_field_name="slug", widget=forms.HiddenInput
    )
    quantity = forms.IntegerField(
        min_value=1,
        max_value=MAX_QUANTITY,
        initial=1,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )


class BasketForm(forms.Form):
    """The number of pieces in the basket."""

    quantity = forms.IntegerField(min_value=0, max_value=MAX_QUANTITY)

    def problem(self) -> str:
        """Say what is wrong."""
        return " ".join(map(str, self["quantity"].errors))


class CustomerForm(forms.Form):
    """For whom an order is."""

    name = forms.CharField(
        max_length=100,
        label="Your name",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    email = forms.EmailField(
        label="Your email address",
        help_text="The confirmation goes there.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )


class OrderForm(CustomerForm, LineForm):
    """One product, how many, and for whom."""

    field_order = ("product", "quantity", "name", "email")
