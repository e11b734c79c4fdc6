"""Alerts without Prometheus: tell people of each problem, by mail or by a callable.

# Note [Alerts]
A channel is the mail, or one callable; each is told by itself, so that one that fails
has nothing repeated over another. Its state is in rows (``OpenAlert``): one for each
problem that it tells or is about to tell of, and one for its turn.

Of many relays, and of commands, one has the turn of a channel at a time: a guarded
UPDATE moves the end of the turn into the future. It looks for problems, sends what is
due, and only then writes that it has. If it dies in between, or if sending takes longer
than a turn, another one sends the same again: each alert is sent at least once.

Something is due when ``due_at`` of its row has passed: first ``AFTER`` the problem was
seen, then a ``COOLDOWN`` after the last message. What is due is told if it was not told
before, if there is more of it than was told, or if it is over. So nothing that happens
within a cooldown is lost, and nothing is told twice. The row of what is over goes only
when a cooldown has passed without the problem: what comes and goes is told no faster.
"""
