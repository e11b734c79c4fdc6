"""Receivers of the customers app: they follow changes of users."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import User
from django.db.models.signals import post_save, pre_save
from django.dispatch import receiver

from customers.services import keep_profile
from signal_tasks import async_receiver

NAMES = frozenset({"first_name", "last_name"})


@receiver(pre_save, sender=User)
def normalise_email(sender: type[User], instance: User, **kwargs: object) -> None:
    """Normalise the address of a user before it is saved.

    This has to be a plain Django receiver: it changes the row that is about to be
    written. ``async_receiver`` refuses ``pre_save``, since the save may never happen.
    """
    instance.email = BaseUserManager.normalize_email(instance.email.strip())


def names_may_differ(
    sender: type[User],
    instance: User,
    created: bool = False,
    update_fields: Collection[str] | None = None,
    **kwargs: object,
) -> bool:
    """Return True if this save may have changed a name; a login does not."""
    return created or update_fields is None or not NAMES.isdisjoint(update_fields)


# A transaction of its own: the user's row is locked until its commit.
@async_receiver(
    post_save,
    sender=User,
    when=names_may_differ,
    on_missing="skip",
    group_commit=False,
)
def update_profile(sender: type[User], instance: User, **kwargs: object) -> None:
    """Create the profile of a new user, or update its names.

    Deliveries may come late, twice, or in another order than the saves: see
    Note [Names as they are].
    """
    keep_profile(user=instance)
