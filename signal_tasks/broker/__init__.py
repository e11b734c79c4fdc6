"""Outward: ids of deliveries, as Celery messages. Knows no database row."""
