"""The invariants of the shop: what must hold when all is delivered."""
