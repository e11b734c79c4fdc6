"""Signals, receivers and models that only the tests have."""
