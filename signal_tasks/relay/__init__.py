"""The safety net: publish what is due, recover what was lost, settle, prune, report."""
