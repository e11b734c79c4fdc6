"""Users, and what happens when one registers."""
