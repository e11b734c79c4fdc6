"""The receivers and signals that this process knows, under stable names."""
