"""The admin of workers and relays."""

from __future__ import annotations

from django.contrib import admin

from signal_tasks.admin.window import WindowAdmin
from signal_tasks.models import Worker


@admin.register(Worker)
class WorkerAdmin(WindowAdmin):
    """Workers and relays, what each consumes, and when it was last seen."""

    list_display = ("name", "queues", "started_at", "seen_at")
    ordering = ("-seen_at",)
