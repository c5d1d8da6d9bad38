"""Verification: are these the right numbers, and if not, why not."""
