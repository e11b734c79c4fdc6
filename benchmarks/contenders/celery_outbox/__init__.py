"""django-celery-outbox: a table of Celery messages, and a relay that publishes them."""
