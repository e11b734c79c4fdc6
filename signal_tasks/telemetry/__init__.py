"""Observation: each module turns lifecycle signals into logs or the like."""
