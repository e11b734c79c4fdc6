"""A project with django-tenants: each tenant has a PostgreSQL schema of its own."""
