"""Loops over time that are compiled by LLVM when they are run; nothing is kept on disk."""
