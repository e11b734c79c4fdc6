"""``manage.py seed``: sample products for a new shop.

They belong to a vendor, who is notified of reviews and cannot sign in.
"""

from __future__ import annotations

from decimal import Decimal

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils.text import slugify

from products.models import Product

VENDOR = "vendor"
# Name, price, stock, description. One is nearly sold out, to show a back-order.
SAMPLES = (
    ("Walnut pour-over stand", "48.00", 500,
     "Oiled walnut and brushed brass. Holds any dripper, and keeps your mug warm."),
    ("Enamel camp mug", "14.50", 500,
     "Chips gracefully. Goes from the fire to the dishwasher."),
    ("Hand-thrown teapot", "62.00", 40,
     "Stoneware, 700 ml, with a spout that does not drip. Each is a little different."),
    ("Linen tea towel", "16.00", 500,
     "Washed linen from a family mill. Softer every year."),
    ("Beechwood dish brush", "9.90", 500,
     "Plant fibre bristles, and a head that can be replaced."),
    ("Cast iron skillet", "54.00", 200,
     "26 cm, pre-seasoned. Heavier than you think, better than you hope."),
    ("Copper measuring cups", "38.00", 150,
     "Four cups on a ring, marked on both sides."),
    ("Olive wood spoon", "12.00", 500,
     "Carved from one piece. Never scratches a pan."),
    ("Beeswax wraps", "18.50", 300,
     "Three sizes. Keeps bread fresh and drawers free of foil."),
    ("Brass egg timer", "27.00", 120,
     "Three minutes, four, or five: the sand knows."),
    ("Notebook of recipes", "11.00", 500,
     "Blank, ruled, and not afraid of flour."),
    ("Last winter's candle", "22.00", 2,
     "Fir and smoke. Two are left: order three to see what a back-order looks like."),
)  # fmt: skip


class Command(BaseCommand):
    """Add the missing sample products; change no existing one."""

    help = "Add sample products; existing ones stay as they are."

    @transaction.atomic
    def handle(self, *args: object, **options: object) -> None:
        vendor = _vendor()
        added = sum(_add(vendor, *sample) for sample in SAMPLES)
        self.stdout.write(f"{added} sample products added.")


def _vendor() -> User:
    if found := User.objects.filter(username=VENDOR).first():
        return found
    return User.objects.create_user(VENDOR, f"{VENDOR}@example.com", first_name="Vera")


def _add(vendor: User, name: str, price: str, stock: int, description: str) -> bool:
    _, created = Product.objects.get_or_create(
        slug=slugify(name),
        defaults={
            "name": name,
            "price": Decimal(price),
            "stock": stock,
            "description": description,
            "vendor": vendor,
        },
    )
    return created
