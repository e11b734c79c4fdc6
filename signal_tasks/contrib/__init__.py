"""Ready hooks for ``SIGNAL_TASKS["CONTEXT"]``; each is imported only if named there."""
