"""Containers: bytes of a file become arrays and plain values; no size or name in it is trusted."""
