"""The test suite of signal_tasks and of the shop."""
