"""The app, which connects its receivers when Django has started."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders of products."""

    name = "orders"

    def ready(self):
        from orders import receivers  # noqa: F401
