"""procrastinate: jobs in PostgreSQL, workers that listen for them."""
