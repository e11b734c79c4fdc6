"""Inward: from a Celery message to finished deliveries.

``tasks`` is the entry; ``message`` owns time and claims, ``batch`` chooses the way
(``together``, ``singly``, ``outside``, ``listed``), ``order`` goes on with what comes
next of a key, ``progress`` keeps what is left to run and what has been written,
``attempt`` is one attempt, ``call`` the receiver, ``outcome`` what is written.
"""
