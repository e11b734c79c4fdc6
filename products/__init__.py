"""What the shop sells and how much of it there is; it knows nothing of orders."""
