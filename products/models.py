"""Models: products, movements of their stock, and reviews."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import models
from django.urls import reverse


class Product(models.Model):
    """Something the shop sells, and its stock.

    Back-orders wait for ``owed`` pieces and are served first: a new order gets at most
    what is ``available``. The ``vendor`` is notified of reviews.
    """

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)
    owed = models.PositiveIntegerField(default=0, editable=False)
    vendor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="products",
    )

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(fields=["slug"], name="products_slug_unique"),
            models.CheckConstraint(
                condition=models.Q(stock__gte=0), name="products_stock_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(owed__gte=0), name="products_owed_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(price__gte=0), name="products_price_not_negative"
            ),
        )

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.slug])

    @property
    def available(self) -> int:
        """Return how many pieces a new order can take."""
        return max(self.stock - self.owed, 0)

    def move(self, movement: StockMovement) -> None:
        """Save a movement and change the stock by it, in the caller's transaction.

        The change is relative, so concurrent changes are kept. The constraints refuse
        a negative stock even if the caller did not lock the row.
        """
        movement.product = self
        movement.save(force_insert=True)
        Product.objects.filter(pk=self.pk).update(
            stock=models.F("stock") - movement.quantity,
            owed=models.F("owed") + movement.missing,
        )
        self.stock -= movement.quantity
        self.owed += movement.missing


class StockMovementQuerySet(models.QuerySet["StockMovement"]):
    """Queries on the stock ledger."""

    def balance(self, order_reference: UUID) -> dict[int, tuple[int, int]]:
        """Return (taken, missing) of an order, by product id.

        Products without a movement for this order are left out.
        """
        rows = self.filter(order_reference=order_reference).order_by()
        sums = rows.values_list("product").annotate(
            models.Sum("quantity"), models.Sum("missing")
        )
        return {product: (taken, missing) for product, taken, missing in sums}


class StockMovement(models.Model):
    """One entry of the stock ledger.

    ``quantity`` was taken from stock (negative: returned or arrived), ``missing`` was
    added to what back-orders wait for (negative: served or cancelled). For each
    product, stock plus the sum of ``quantity`` is constant and ``owed`` is the sum of
    ``missing``; for each order the sums are what it holds and waits for.

    ``key`` is the idempotency key of the delivery, or a new key where a person entered
    it: the same key cannot move the same product twice.
    """

    class Kind(models.TextChoices):
        """Why stock moved."""

        TAKEN = "taken", "taken for an order"
        SERVED = "served", "taken for a back-order"
        RETURNED = "returned", "given back by an order"
        ARRIVED = "arrived", "arrived"

    key = models.UUIDField()
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.TAKEN)
    product = models.ForeignKey(
        Product, on_delete=models.PROTECT, related_name="movements"
    )
    order_reference = models.UUIDField(null=True, db_index=True)
    quantity = models.IntegerField()
    missing = models.IntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = StockMovementQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["key", "product", "order_reference"],
                name="products_movement_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id}"


class Review(models.Model):
    """A user's review of a product; each user has at most one per product."""

    class Rating(models.IntegerChoices):
        """From 1 to 5."""

        AWFUL = 1, "1: awful"
        POOR = 2, "2: poor"
        FAIR = 3, "3: fair"
        GOOD = 4, "4: good"
        EXCELLENT = 5, "5: excellent"

    product = models.ForeignKey(
        Product, on_delete=models.CASCADE, related_name="reviews"
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reviews"
    )
    rating = models.PositiveSmallIntegerField(choices=Rating.choices)
    text = models.TextField(max_length=2000)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["product", "author"], name="products_review_once"
            ),
            models.CheckConstraint(
                condition=models.Q(rating__range=(1, 5)),
                name="products_review_rating_range",
            ),
        )

    def __str__(self) -> str:
        return f"{self.rating} of 5 for product {self.product_id}"

    @property
    def stars(self) -> str:
        """Return the rating as stars."""
        return "★" * self.rating + "☆" * (5 - self.rating)
