"""How fast it is, measured beside plain Celery; run by ``make bench``, not by tests."""
