"""The safety net: publish what is due, recover what was lost, prune, report."""
