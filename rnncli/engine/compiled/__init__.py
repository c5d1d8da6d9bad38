"""Loops over time, compiled by LLVM when they run first; nothing is stored on disk."""
