"""The page at ``/incident/``: a tour of an incident of the running shop, and its end.

For development only: ``views`` are the page and its buttons, ``faults`` breaks things,
``facts`` reads what is true now, ``tour`` makes the steps of it.
"""
