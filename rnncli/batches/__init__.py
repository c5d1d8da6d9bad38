"""Batches: a result for each of many inputs, in processes of this machine or on a cluster."""
