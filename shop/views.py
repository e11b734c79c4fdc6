"""The pages of the shop: each reads its input, calls one service, and answers."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.views.decorators.cache import never_cache
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)
from django_htmx.http import HttpResponseStopPolling

from customers.proof_views import TOO_MANY
from customers.proofs import Purpose, request_proof
from customers.visitors import visitor_for, visitor_of
from orders.models import Order, OrderQuerySet
from orders.services import (
    AddressNotProved,
    cancel_order,
    confirm_order,
    place_order,
)
from products.models import Product
from shop.basket import Basket
from shop.forms import BasketForm, CustomerForm, LineForm, OrderForm
from shop.progress import progress_of


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """Show all products."""
    return render(request, "shop/catalogue.html", {"products": Product.objects.all()})


@require_safe
def product(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one product and the form to order it."""
    found = get_object_or_404(Product, slug=slug)
    form = OrderForm(initial={"product": found.slug, **_known(request)})
    return render(request, "shop/product.html", {"product": found, "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def orders(request: HttpRequest) -> HttpResponse:
    """List the orders that the user may see, or place one."""
    if request.method == "POST":
        return _place(request)
    newest_first = _visible(request).prefetch_related("lines")
    page = Paginator(newest_first, 20).get_page(request.GET.get("page"))
    return render(request, "shop/orders.html", {"page": page})


def _place(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST)
    wanted = get_object_or_404(Product, slug=request.POST.get("product", ""))
    if not form.is_valid():
        context = {"product": wanted, "form": form}
        return render(request, "shop/product.html", context, status=422)
    line = (form.cleaned_data["product"], form.cleaned_data["quantity"])
    return _placed(request, form, [line])


def _placed(
    request: HttpRequest, form: CustomerForm, lines: list[tuple[Product, int]]
) -> HttpResponse:
    order = place_order(
        name=form.cleaned_data["name"],
        email=form.cleaned_data["email"],
        lines=lines,
        user=request.user,
        visitor=visitor_for(request.session),
    )
    if order.address_is_proved():
        messages.success(request, f"Order {order.pk} is placed. Please confirm it.")
    else:
        messages.success(request, f"Order {order.pk} is placed.")
        _ask_for_proof(request, order)
    return redirect(order)


def _ask_for_proof(request: HttpRequest, order: Order) -> None:
    """Have a link sent that proves the address of an order; say so on the next page."""
    email = order.customer_email

    def note(event_id: UUID) -> None:
        order.note_event(proof_event_id=event_id)

    if request_proof(request, email=email, purpose=Purpose.ADDRESS, note=note):
        messages.info(request, f"A link is on its way to {email}: open it to go on.")
    else:
        messages.error(request, TOO_MANY)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def basket(request: HttpRequest) -> HttpResponse:
    """Show the basket, or add a product to it."""
    if request.method != "POST":
        return _basket(request, CustomerForm(initial=_known(request)))
    wanted = get_object_or_404(Product, slug=request.POST.get("product", ""))
    form = LineForm(request.POST)
    if not form.is_valid():
        form = OrderForm(request.POST)
        context = {"product": wanted, "form": form}
        return render(request, "shop/product.html", context, status=422)
    Basket(request.session).add(wanted, form.cleaned_data["quantity"])
    messages.success(request, f"{wanted} is in your basket.")
    return redirect("basket")


@require_POST
def change_basket(request: HttpRequest) -> HttpResponse:
    """Set the quantity of a product in the basket; 0 removes it."""
    wanted = get_object_or_404(Product, slug=request.POST.get("product", ""))
    form = BasketForm(request.POST)
    if form.is_valid():
        Basket(request.session).put(wanted, form.cleaned_data["quantity"])
    else:
        messages.error(request, f"{wanted}: {form.problem()}")
    return redirect("basket")


@require_POST
def order_basket(request: HttpRequest) -> HttpResponse:
    """Order all that is in the basket, and empty it."""
    form, basket = CustomerForm(request.POST), Basket(request.session)
    lines = [(line.product, line.quantity) for line in basket]
    if not lines:
        messages.info(request, "There is nothing in your basket to order.")
        return redirect("basket")
    if not form.is_valid():
        return _basket(request, form, status=422)
    answer = _placed(request, form, lines)
    basket.clear()
    return answer


def _basket(
    request: HttpRequest, form: CustomerForm, status: int = 200
) -> HttpResponse:
    lines = list(Basket(request.session))
    total = sum((line.total for line in lines), Decimal(0))
    context = {"lines": lines, "total": total, "form": form}
    return render(request, "shop/basket.html", context, status=status)


def _known(request: HttpRequest) -> dict[str, str]:
    """Return what the form need not ask a signed-in user."""
    if not isinstance(request.user, User):
        return {}
    return {"name": request.user.get_full_name(), "email": request.user.email}


def _visible(request: HttpRequest) -> OrderQuerySet:
    return Order.objects.visible_to(request.user, visitor_of(request.session))


def _changeable(request: HttpRequest, pk: int) -> Order:
    """Return an order that the user may change; 404 if they may not even see it."""
    found = get_object_or_404(_visible(request), pk=pk)
    if not _may_change(request, found):
        raise PermissionDenied
    return found


def _may_change(request: HttpRequest, order: Order) -> bool:
    orders = Order.objects.changeable_by(request.user, visitor_of(request.session))
    return orders.filter(pk=order.pk).exists()


@never_cache
@require_safe
def order(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one order, its deliveries and its emails."""
    found = get_object_or_404(_visible(request), pk=pk)
    context = {
        "progress": progress_of(found),
        "may_change": _may_change(request, found),
        "is_proved": found.address_is_proved(),
    }
    return render(request, "shop/order.html", context)


@never_cache
@require_safe
def deliveries(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the part of the order page that refreshes itself until all is finished."""
    progress = progress_of(get_object_or_404(_visible(request), pk=pk))
    page = render_to_string("shop/_progress.html", {"progress": progress}, request)
    return HttpResponseStopPolling(page) if progress.ended else HttpResponse(page)


@require_POST
def confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Confirm an order, once."""
    found = _changeable(request, pk)
    try:
        confirmed = confirm_order(order=found)
    except AddressNotProved:
        text = f"Please open the link in our email to {found.customer_email} first."
        messages.error(request, text)
        return redirect(found)
    if confirmed:
        messages.success(request, f"Order {pk} is confirmed. Thank you!")
    elif found.status == Order.Status.CANCELLED:
        messages.error(request, f"Order {pk} is cancelled: it cannot be confirmed.")
    else:
        messages.info(
            request, f"Order {pk} was already confirmed. Nothing was sent again."
        )
    return redirect(found)


@require_POST
def send_proof(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the link again that proves the address of an order."""
    found = _changeable(request, pk)
    if not found.address_is_proved():
        _ask_for_proof(request, found)
    return redirect(found)


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel an order, once."""
    found = _changeable(request, pk)
    if cancel_order(order=found):
        messages.success(request, f"Order {pk} is cancelled.")
    else:
        messages.info(request, f"Order {pk} was already cancelled.")
    return redirect(found)


@require_safe
def icon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon, for pages that name none, such as the admin's."""
    return redirect(static("shop/icon.svg"))
