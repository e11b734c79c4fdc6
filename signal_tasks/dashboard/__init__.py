"""The dashboard: pages of ``reports``, ``health`` and ``operations`` for people on call.

An app of its own: add ``"signal_tasks.dashboard"`` to ``INSTALLED_APPS`` and
``path("signals/", include("signal_tasks.dashboard.urls"))`` to the URLs.
"""
