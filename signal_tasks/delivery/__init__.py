"""Inward: from a Celery message to finished deliveries.

``tasks`` is the entry; ``message`` owns time and claims, ``batch`` transactions,
``attempt`` one attempt, ``call`` the receiver, ``outcome`` what is written.
"""
