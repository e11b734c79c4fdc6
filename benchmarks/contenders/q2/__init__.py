"""django-q2 with its Redis broker, which is the fastest and not a durable one."""
