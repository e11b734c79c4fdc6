"""Products, and a record of each time stock was taken."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Product(models.Model):
    """Something the shop sells, and how many of it lie on the shelf."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(fields=["slug"], name="products_slug_unique"),
            models.CheckConstraint(
                condition=models.Q(stock__gte=0), name="products_stock_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(price__gte=0), name="products_price_not_negative"
            ),
        )

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.slug])

    def take(self, wanted: int) -> int:
        """Take up to ``wanted`` off the shelf and return how many that was.

        The caller holds the row's lock (``select_for_update``). Where the database
        has none, the constraint on ``stock`` still refuses to go below zero.
        """
        taken = min(self.stock, wanted)
        if taken:
            Product.objects.filter(pk=self.pk).update(stock=models.F("stock") - taken)
            self.stock -= taken
        return taken

    def restock(self, quantity: int) -> None:
        """Put more on the shelf, whatever is taken off it meanwhile."""
        Product.objects.filter(pk=self.pk).update(stock=models.F("stock") + quantity)
        self.refresh_from_db(fields=["stock"])


class StockMovement(models.Model):
    """What one delivery took from the stock of one product, and what it could not.

    ``key`` is the idempotency key of the delivery: the same delivery, run again,
    finds its movements here and takes nothing more.
    """

    key = models.UUIDField()
    product = models.ForeignKey(
        Product, on_delete=models.PROTECT, related_name="movements"
    )
    order_reference = models.UUIDField(db_index=True)
    quantity = models.PositiveIntegerField()
    missing = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["key", "product"], name="products_movement_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id}"
