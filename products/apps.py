"""The products app."""

from __future__ import annotations

from django.apps import AppConfig


class ProductsConfig(AppConfig):
    """Products and their stock."""

    name = "products"
