"""Pauses, limits and breakers, which hold for all workers together."""
