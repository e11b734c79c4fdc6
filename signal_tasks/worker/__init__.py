"""Extensions of a Celery worker, so that ``celery -A <app> worker`` is enough."""
