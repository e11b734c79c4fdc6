"""Flower's configuration: each task leads to its deliveries on the dashboard."""

from __future__ import annotations

from django.conf import settings

from signal_tasks.contrib.flower import link_deliveries

link_deliveries(f"{settings.SITE_URL}/signals/")
