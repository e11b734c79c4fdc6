"""The forms of the shop's pages."""

from __future__ import annotations

from django import forms

from products.models import Product

MOST = 99


class OrderForm(forms.Form):
    """One product, how many, and for whom."""

    product = forms.ModelChoiceField(
        Product.objects.all(), to_field_name="slug", widget=forms.HiddenInput
    )
    quantity = forms.IntegerField(
        min_value=1,
        max_value=MOST,
        initial=1,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
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
