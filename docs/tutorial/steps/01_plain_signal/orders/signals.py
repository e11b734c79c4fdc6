"""The signals of this app."""

from django.dispatch import Signal

order_confirmed = Signal()
