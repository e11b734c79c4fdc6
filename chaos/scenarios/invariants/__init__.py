"""The invariants of the shop: relations between its rows and the received emails."""
