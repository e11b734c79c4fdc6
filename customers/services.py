"""What can be done with customers and accounts. Each of these is one transaction."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction

from customers.models import Customer, CustomerProfile
from customers.signals import user_registered


class Taken(Exception):
    """Another account has this already; ``field`` is what."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Another account has this {field}.")
        self.field = field


def remember_customer(*, name: str, email: str) -> Customer:
    """Return the customer with this address, new if nobody had it.

    A name once known stays: whoever types an address has not proved to own it.
    """
    customer, _ = Customer.objects.get_or_create(
        email=email.strip().lower(), defaults={"name": name}
    )
    return customer


@transaction.atomic
def register(
    *,
    username: str,
    password: str,
    email: str,
    first_name: str = "",
    last_name: str = "",
) -> User:
    """Make an account and announce it; ``Taken`` if somebody has one like it.

    Django's user has no unique address. The customer has: its row is locked, so that
    of two who register with one address at the same time the second is refused.
    """
    name = f"{first_name} {last_name}".strip() or username
    customer = remember_customer(name=name[:100], email=email)
    Customer.objects.select_for_update().get(pk=customer.pk)
    if User.objects.filter(email__iexact=customer.email).exists():
        raise Taken("email")
    names = {"first_name": first_name, "last_name": last_name}
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, email, password, **names)
    except IntegrityError as error:
        raise Taken("username") from error
    user_registered.send(sender=User, user=user)
    return user


@transaction.atomic
def keep_profile(*, user: User) -> CustomerProfile:
    """Make or change the profile so that it has the names that the user has now.

    # Note [Names as they are]
    Not what was saved when the event was sent counts, but what the row says now. It
    is locked while it is read: whoever changes it meanwhile waits, and sends another
    event after that. So the last delivery to run writes the newest names, whichever
    it is.
    """
    now = User.objects.select_for_update().get(pk=user.pk)
    names = {"first_name": now.first_name, "last_name": now.last_name}
    profile, _ = CustomerProfile.objects.update_or_create(user=now, defaults=names)
    return profile


def rename(*, user: User, first_name: str, last_name: str) -> None:
    """Call a user so; the profile follows by the event that saving the user sends."""
    user.first_name, user.last_name = first_name, last_name
    user.save(update_fields=["first_name", "last_name"])


@transaction.atomic
def change_picture(*, user: User, picture: ContentFile[bytes] | None) -> None:
    """Show this picture from now on, or none.

    The old file goes after the commit, lest a rollback leave a profile without.
    """
    profile, _ = CustomerProfile.objects.get_or_create(user=user)
    old, storage = profile.picture.name, profile.picture.storage
    profile.picture = picture or ""
    profile.save(update_fields=["picture"])
    if old:
        transaction.on_commit(lambda: storage.delete(old), robust=True)
