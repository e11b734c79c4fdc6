"""Measure the speed beside plain Celery; run by ``make bench``, not by tests."""
