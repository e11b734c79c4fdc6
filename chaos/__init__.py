"""The fault suite: inject faults into running servers and check every promise.

``python -m chaos`` starts a database, a broker, a web server and workers of its own.
It sends events while it kills, freezes and starves them, and then compares the
effects with the events exactly. The suite may use private parts of the engine, from
outside, to crash it at chosen points; the engine contains no code for the suite.
"""
