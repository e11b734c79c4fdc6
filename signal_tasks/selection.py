"""Which deliveries an operation is for."""
