"""The scenario: customers use the shop while faults are injected.

It starts the web server, two workers, PostgreSQL, Redis and a mail server, as
``make run`` does. Customers use every function of the shop over HTTP; a seed decides
which fault is injected when. After the last delivery the invariants are checked: stock
against orders, profiles against accounts, received emails against all rows.
"""
