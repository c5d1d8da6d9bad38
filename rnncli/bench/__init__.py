"""Timing: strategies beside other libraries, a process each, in turn."""
