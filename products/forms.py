"""The forms of the pages about products."""

from __future__ import annotations

from django import forms
from django.contrib.auth.models import AnonymousUser, User

from products.models import Product, Review


class ReviewForm(forms.Form):
    """A rating and a text."""

    rating = forms.TypedChoiceField(
        coerce=int,
        choices=[("", "Choose"), *reversed(Review.Rating.choices)],
        label="Your rating",
    )
    text = forms.CharField(
        max_length=2000,
        label="Your review",
        widget=forms.Textarea(attrs={"rows": 4}),
    )

    @classmethod
    def of(cls, user: User | AnonymousUser, product: Product) -> ReviewForm | None:
        """Return the form for a signed-in user, filled with their earlier review."""
        if not user.is_authenticated:
            return None
        said = product.reviews.filter(author=user).first()
        if said is None:
            return cls()
        return cls(initial={"rating": said.rating, "text": said.text})
