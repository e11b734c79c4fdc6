"""An outbox of millions of deliveries, and what each page asks of it."""
