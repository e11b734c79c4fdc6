"""Rows in the caller's transaction: events, and a delivery for each receiver."""
