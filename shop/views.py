"""The pages of the shop: they read, call one service, and answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    JsonResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.views.decorators.cache import never_cache

from orders.models import Order
from orders.services import confirm_order, place_order
from products.models import Product
from shop.forms import OrderForm
from shop.progress import progress_of
from signal_tasks import health as signal_health

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def allow(*methods: str) -> Callable[[View[P]], View[P]]:
    """Refuse other methods with 405 and a page that names the right ones."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            if request.method in methods:
                return view(request, *args, **kwargs)
            page = render_to_string("405.html", {"methods": methods}, request)
            return HttpResponseNotAllowed(methods, page)

        return guarded

    return decorate


@allow("GET", "HEAD")
def catalogue(request: HttpRequest) -> HttpResponse:
    """Show all products."""
    return render(request, "shop/catalogue.html", {"products": Product.objects.all()})


@allow("GET", "HEAD")
def product(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one product and the form to order it."""
    found = get_object_or_404(Product, slug=slug)
    form = OrderForm(initial={"product": found.slug})
    return render(request, "shop/product.html", {"product": found, "form": form})


@allow("GET", "HEAD", "POST")
def orders(request: HttpRequest) -> HttpResponse:
    """List the orders, or place one."""
    if request.method == "POST":
        return _place(request)
    newest_first = Order.objects.prefetch_related("lines")
    page = Paginator(newest_first, 20).get_page(request.GET.get("page"))
    return render(request, "shop/orders.html", {"page": page})


def _place(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST)
    wanted = get_object_or_404(Product, slug=request.POST.get("product", ""))
    if not form.is_valid():
        context = {"product": wanted, "form": form}
        return render(request, "shop/product.html", context, status=422)
    order = place_order(
        name=form.cleaned_data["name"],
        email=form.cleaned_data["email"],
        lines=[(form.cleaned_data["product"], form.cleaned_data["quantity"])],
    )
    messages.success(request, f"Order {order.pk} is placed. Please confirm it.")
    return redirect(order)


@never_cache
@allow("GET", "HEAD")
def order(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one order and what follows from it."""
    progress = progress_of(get_object_or_404(Order, pk=pk))
    return render(request, "shop/order.html", {"progress": progress})


@never_cache
@allow("GET", "HEAD")
def deliveries(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the part of the order page that changes by itself."""
    progress = progress_of(get_object_or_404(Order, pk=pk))
    return render(request, "shop/_progress.html", {"progress": progress})


@allow("POST")
def confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Confirm an order, once."""
    found = get_object_or_404(Order, pk=pk)
    if confirm_order(order=found):
        messages.success(request, f"Order {pk} is confirmed. Thank you!")
    else:
        messages.info(
            request, f"Order {pk} was already confirmed. Nothing was sent again."
        )
    return redirect(found)


@allow("GET", "HEAD")
def icon(request: HttpRequest) -> HttpResponse:
    """Lead browsers to the icon from pages that name none, such as the admin's."""
    return redirect(static("shop/icon.svg"))


@never_cache
@allow("GET", "HEAD")
def health(request: HttpRequest) -> JsonResponse:
    """Tell a monitor whether orders are being worked on: 200, or 503 if not."""
    try:
        report = signal_health()
    except DatabaseError:
        report = {"healthy": False, "problems": ["the database does not answer"]}
    return JsonResponse(report, status=200 if report["healthy"] else 503)
