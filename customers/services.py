"""What can be done with customers."""

from __future__ import annotations

from customers.models import Customer


def remember_customer(*, name: str, email: str) -> Customer:
    """Return the customer with this address, new if nobody had it.

    A name once known stays: whoever types an address has not proved to own it.
    """
    customer, _ = Customer.objects.get_or_create(
        email=email.strip().lower(), defaults={"name": name}
    )
    return customer
