"""One package for each contender: its settings, and its side of the work.

``settings`` is read by Django (``APPS`` and what is in capitals); ``side`` connects
the receivers and has

* ``send(kind, order_id, stock_id)``, called in the transaction of the order;
* ``send_many(rows)``, for pairs of order and stock, if the contender can;
* ``flush()``, which returns when nothing is left to be published.

Both are imported in the contender's own environment, never by the harness.
"""
