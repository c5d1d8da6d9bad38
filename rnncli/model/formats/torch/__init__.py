"""PyTorch files: what is in them, as layers of our own."""
