"""Observers of the core's own, and the bus that calls all of them."""
