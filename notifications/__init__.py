"""What the shop writes to its customers, and a record of what it wrote."""
