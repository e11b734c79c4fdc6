"""A search index that is written in bulk: many users in one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import post_save

from signal_tasks import BatchItem, async_receiver


class NotIndexed(Exception):
    """The search service has refused one document."""


@async_receiver(
    post_save,
    sender=User,
    name="search.receivers.index_users",
    batch=100,
    atomic=False,
    timeout=30,
)
def index_users(
    batch: Sequence[BatchItem], **kwargs: Any
) -> Mapping[BatchItem, Exception | None]:
    """Write the users as the database had them, and answer for each of them."""
    refused = search.write({item["instance"].pk: item["instance"] for item in batch})
    errors = {pk: NotIndexed(why) for pk, why in refused.items()}
    return {item: errors.get(item["instance"].pk) for item in batch}


class Search:
    """Stands for the client of a search service that takes many documents at once."""

    def write(self, users: Mapping[int, User]) -> Mapping[int, str]:
        """Write the documents; return why some were refused."""
        taken = {pk: user.username for pk, user in users.items() if user.username}
        print(f"one request for {len(users)} users: {', '.join(taken.values())}")
        return dict.fromkeys(users.keys() - taken.keys(), "it has no name")


search = Search()
