"""The shop itself, used by people while it is broken.

Web, two workers, PostgreSQL, Redis and a mail server are started as ``make run`` does;
customers do over HTTP all that the shop offers; a seed decides what breaks when. When
everything is delivered, orders are compared with stock, people with profiles, and all
of it with what the mail server has received.
"""
