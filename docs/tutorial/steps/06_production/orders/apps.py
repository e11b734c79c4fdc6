"""The app; ``signal_tasks`` imports its ``receivers`` module."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders of products."""

    name = "orders"
