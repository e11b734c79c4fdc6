"""Users, and the receivers of new ones."""
