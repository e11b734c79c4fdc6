"""Plain Celery with ``delay_on_commit``, tuned: what all others are compared with."""
