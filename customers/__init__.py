"""Customers, accounts and subscribers of the newsletter."""
