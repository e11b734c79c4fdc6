"""A search index that is written once for many saves of a user."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import post_save

from signal_tasks import Coalesce, async_receiver


def by_user(sender: type[User], instance: User, **kwargs: Any) -> User:
    return instance


@async_receiver(
    post_save,
    sender=User,
    name="search.receivers.index_user",
    coalesce=Coalesce(key=by_user, within=5.0, max_wait=60.0),
)
def index_user(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Write the user as the database has it now."""
    print(f"index user {instance.pk} as {instance.username}")
