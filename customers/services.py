"""Create and change customers and accounts; each function is one transaction."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction

from customers.models import Customer, CustomerProfile
from customers.proofs import Claim, accept, plain
from customers.signals import user_registered
from signal_tasks import operations


class Taken(Exception):
    """Another account has the same ``field``."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Another account has this {field}.")
        self.field = field


def remember_customer(*, name: str, email: str) -> Customer:
    """Return the customer with this address, new if needed.

    An existing name stays: the address may not be proved.
    """
    customer, _ = Customer.objects.get_or_create(
        email=plain(email), defaults={"name": name}
    )
    return customer


def has_account(email: str) -> bool:
    """Return True if there is an account with this address."""
    return User.objects.filter(email__iexact=plain(email)).exists()


@transaction.atomic
def register(
    *,
    username: str,
    password: str,
    email: str,
    first_name: str = "",
    last_name: str = "",
) -> User:
    """Make an account with a proved address; raise ``Taken`` if there is one like it.

    Django's user has no unique address, but the customer has. Its row is locked, so
    that of two registrations with one address at the same time the second is refused.
    Its name becomes that of the owner, whatever a stranger gave with the address.
    """
    name = (f"{first_name} {last_name}".strip() or username)[:100]
    customer = remember_customer(name=name, email=email)
    Customer.objects.select_for_update().get(pk=customer.pk)
    if has_account(customer.email):
        raise Taken("email")
    names = {"first_name": first_name, "last_name": last_name}
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, email, password, **names)
    except IntegrityError as error:
        raise Taken("username") from error
    Customer.objects.filter(pk=customer.pk).update(name=name)
    accept(Claim(email=customer.email, user_id=user.pk))
    user_registered.send(sender=User, user=user)
    return user


@transaction.atomic
def keep_profile(*, user: User) -> CustomerProfile:
    """Create the profile of a user, or copy the present names to it.

    # Note [Names as they are]
    The names come from the user's row as it is now, not from the event. The row is
    locked while it is read: a concurrent change waits, and sends another event after
    that. So the delivery that runs last writes the newest names, whichever it is.
    """
    now = User.objects.select_for_update().get(pk=user.pk)
    names = {"first_name": now.first_name, "last_name": now.last_name}
    profile, _ = CustomerProfile.objects.update_or_create(user=now, defaults=names)
    return profile


def profile_has_failed(*, user: User) -> bool:
    """Return True if making the profile is a dead letter, so that waiting is in vain."""
    subject = f"{user._meta.label_lower}:{user.pk}"
    dead = operations.Selection(
        receiver="customers.receivers.update_profile", subject=subject, state="dead"
    )
    return dead.count(1) > 0


def rename(*, user: User, first_name: str, last_name: str) -> None:
    """Change the names of a user; the profile follows by the event of this save."""
    user.first_name, user.last_name = first_name, last_name
    user.save(update_fields=["first_name", "last_name"])


@transaction.atomic
def change_picture(*, user: User, picture: ContentFile[bytes] | None) -> None:
    """Replace or remove the picture of a user.

    The old file is deleted after the commit: a rollback would need it.
    """
    profile, _ = CustomerProfile.objects.get_or_create(user=user)
    old, storage = profile.picture.name, profile.picture.storage
    profile.picture = picture or ""
    profile.save(update_fields=["picture"])
    if old:
        transaction.on_commit(lambda: storage.delete(old), robust=True)
