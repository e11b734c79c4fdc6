"""Tell the customer once, when everything that an import has caused is through."""

from __future__ import annotations

import uuid
from typing import Any

from signal_tasks import AsyncSignal, receiver

catalogue_imported = AsyncSignal(name="catalogue.imported")


@receiver(catalogue_imported, name="catalogue.write_index")
def write_index(sender: object, file: str, **kwargs: Any) -> None:
    """Write the search index."""


@receiver(catalogue_imported, name="catalogue.make_thumbnails")
def make_thumbnails(sender: object, file: str, **kwargs: Any) -> None:
    """Make the thumbnails of the pictures."""


@receiver(catalogue_imported.settled, name="catalogue.tell")
def tell(
    sender: object,
    file: str,
    event_id: uuid.UUID,
    outcomes: dict[str, str],
    **kwargs: Any,
) -> None:
    """Tell how the import has ended."""
    failed = sorted(name for name, state in outcomes.items() if state != "succeeded")
    print(f"{file}: failed: {', '.join(failed)}" if failed else f"{file}: done")
