"""Formats: a weight file becomes a network (`load`), and a network a weight file."""
