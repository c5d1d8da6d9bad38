"""State files: the state of each key between runs, their locks and checks."""
