"""The package in other environments: interpreters, Django, Celery, database drivers."""
