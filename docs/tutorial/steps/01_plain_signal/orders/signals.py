"""What other code may react to."""

from django.dispatch import Signal

order_confirmed = Signal()
