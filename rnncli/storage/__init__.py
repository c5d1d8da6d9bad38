"""Storage: files on this machine, written whole or not at all."""
