"""How customers react to what happens to accounts."""

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
    """Strip the address and write its domain in lower case, whoever saves the user.

    A plain Django receiver, and rightly so: it changes the row that is about to be
    written, so it has to run here and now, in the same process and transaction.
    Later, elsewhere, there would be nothing left to change, and what ``pre_save``
    announces may never happen: ``async_receiver`` refuses it for that reason.
    """
    instance.email = BaseUserManager.normalize_email(instance.email.strip())


def names_may_differ(
    sender: type[User],
    instance: User,
    created: bool = False,
    update_fields: Collection[str] | None = None,
    **kwargs: object,
) -> bool:
    """Whether this save can have changed a name; a login, say, cannot."""
    return created or update_fields is None or not NAMES.isdisjoint(update_fields)


# One commit each: the user's row is locked until then.
@async_receiver(
    post_save,
    sender=User,
    when=names_may_differ,
    on_missing="skip",
    group_commit=False,
)
def update_profile(sender: type[User], instance: User, **kwargs: object) -> None:
    """Make the profile of a new user; let that of an older one follow its names.

    Deliveries may come late, twice, or in another order than the saves: see
    Note [Names as they are].
    """
    keep_profile(user=instance)
