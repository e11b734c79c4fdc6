"""Pauses, limits, breakers and the order of keys, for all workers together."""
