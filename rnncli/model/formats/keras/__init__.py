"""Keras files: their contents as layers of our own."""
