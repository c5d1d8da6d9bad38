"""Whether results are right."""
