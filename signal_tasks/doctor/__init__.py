"""Find out, live, what a project lacks until its first delivery, in that order.

Nothing of this runs but for ``manage.py signal_tasks doctor``. Each worker knows the
receiver of the test event, which costs it a name.
"""
