"""What may start: pauses, limits and breakers that hold for all workers together."""
