"""People of the shop: who buys, who has an account, who reads the newsletter."""
