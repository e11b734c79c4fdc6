"""Declaring signals, connecting receivers, ``send()``."""
