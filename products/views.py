"""The pages on which reviews are read and written."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from products.forms import ReviewForm
from products.models import Product
from products.reviews import review_product, reviews_of


@require_http_methods(["GET", "HEAD", "POST"])
def reviews(request: HttpRequest, slug: str) -> HttpResponse:
    """List the reviews of a product, or save one."""
    product = get_object_or_404(Product, slug=slug)
    if request.method != "POST":
        return _page(request, product, ReviewForm.of(request.user, product))
    if not isinstance(request.user, User):
        return redirect_to_login(request.path)
    return _review(request, product, request.user)


def _review(request: HttpRequest, product: Product, author: User) -> HttpResponse:
    form = ReviewForm(request.POST)
    if not form.is_valid():
        return _page(request, product, form, status=422)
    created = review_product(product=product, author=author, **form.cleaned_data)
    said = "Thank you for your review." if created else "Your review is changed."
    messages.success(request, said)
    return redirect(product)


def _page(
    request: HttpRequest, product: Product, form: ReviewForm | None, status: int = 200
) -> HttpResponse:
    page = Paginator(reviews_of(product), 20).get_page(request.GET.get("page"))
    context = {"product": product, "form": form, "page": page}
    return render(request, "products/reviews.html", context, status=status)
