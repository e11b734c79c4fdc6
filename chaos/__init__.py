"""The fault suite: attacks durable signals for real and counts what is left.

``python -m chaos`` starts a database, a broker, a web server and workers of its own,
sends events while it kills, freezes and starves them, and then compares effects with
events exactly. It is a product of its own beside ``signal_tasks``: it may reach into
the engine's private parts, from outside, to inject at chosen moments; the engine
contains nothing made for it.
"""
