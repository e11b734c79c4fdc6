"""Orders: placed, confirmed, perhaps back-ordered. What follows hangs off signals."""
