"""Loops over time that are compiled when they are run, by LLVM.

The equation of a cell (`Cell.step`) is computed with vectors that stand for
code, and so writes its own loop, `loops`; `machine` compiles it. That takes
some hundredths of a second, so nothing is kept on disk.
"""
