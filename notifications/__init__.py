"""The emails of the shop, and a record of each."""
