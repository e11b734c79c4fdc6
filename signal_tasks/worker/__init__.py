"""What extends a Celery worker, so that ``celery -A <app> worker`` is enough."""
