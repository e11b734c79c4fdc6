"""The admin: windows on events, deliveries, operations and what steers them.

No page counts a whole table, filters by what the lists do not offer, or lists children
without bound. Rows of another model are shown to those who may view that model. Each
action calls ``operations``, if the user has the permission for it.
"""

from __future__ import annotations

from signal_tasks.admin import controls, deliveries, events, groups, operations, workers

__all__ = ["controls", "deliveries", "events", "groups", "operations", "workers"]
