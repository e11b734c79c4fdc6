"""Management commands of signal_tasks."""
