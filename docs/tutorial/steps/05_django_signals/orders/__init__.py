"""Orders of products."""
