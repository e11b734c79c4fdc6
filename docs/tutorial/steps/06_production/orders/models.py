"""Products, and orders of them."""

from django.db import models


class OutOfStock(Exception):
    """Fewer pieces are in stock than were ordered."""


class Product(models.Model):
    """Something to order."""

    name = models.CharField(max_length=100)
    stock = models.PositiveIntegerField()

    def __str__(self):
        return self.name


class Order(models.Model):
    """Some pieces of one product, for one person."""

    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField()
    email = models.EmailField()
    confirmed = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.quantity} x {self.product}"

    def confirm(self):
        self.confirmed = True
        self.save(update_fields=["confirmed"])
