"""Who buys in the shop: a name and an address to write to, no account yet."""
