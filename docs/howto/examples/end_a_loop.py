"""Two receivers that write what they are called for; one of them goes round."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import post_save

from signal_tasks import async_receiver


def goes_round(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Save the user, which sends the signal that has called this."""
    instance.email = instance.email.lower()
    instance.save()


def is_from_outside(
    sender: type[User],
    instance: User,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> bool:
    """Return False for what ``ends`` itself saves."""
    return update_fields is None or set(update_fields) != {"email"}


def ends(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Save the user in a way that ``when=`` tells from others."""
    instance.email = instance.email.lower()
    instance.save(update_fields=["email"])


def connect_the_one_that_goes_round() -> None:
    async_receiver(post_save, sender=User, name="users.goes_round")(goes_round)


def connect_the_one_that_ends() -> None:
    connect = async_receiver(
        post_save, sender=User, name="users.ends", when=is_from_outside
    )
    connect(ends)
