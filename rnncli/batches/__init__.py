"""Batches: a result for each of many inputs, in many processes, and what is done already."""
