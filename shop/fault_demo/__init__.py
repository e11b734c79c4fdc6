"""The page at ``/machine/``: break the running shop, and count what was lost.

For development only: ``views`` are the pages, ``faults`` breaks things, ``totals``
counts orders, stock movements and emails.
"""
