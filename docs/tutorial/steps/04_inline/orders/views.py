"""A page with the orders, and a button to confirm each."""

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from orders.models import Order, OutOfStock, Product
from orders.signals import order_confirmed


def index(request):
    orders = Order.objects.select_related("product").order_by("pk")
    context = {"orders": orders, "products": Product.objects.order_by("name")}
    return render(request, "orders/index.html", context)


@require_POST
def confirm(request, pk):
    order = get_object_or_404(Order, pk=pk, confirmed=False)
    try:
        with transaction.atomic():
            order.confirm()
            order_confirmed.send(sender=Order, order=order)
    except OutOfStock:
        return HttpResponse(f"Too few in stock: {order}.", status=409)
    return redirect("index")
