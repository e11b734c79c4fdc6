"""A scripted incident: everything breaks, then one operator with a shell mends it.

The mail server is down, a booking receiver has a bug, the broker freezes, and all
workers are killed. From then on only ``manage.py signal_tasks`` and what an operator
does outside of it (mend, deploy, start workers) puts the system right.
"""
