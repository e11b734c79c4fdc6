"""django-ox: Django's tasks in the database, with leases and retries."""
