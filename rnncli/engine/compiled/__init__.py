"""Loops over time that are compiled when they are run, by LLVM.

The equation of a cell (`Cell.step`) is computed with vectors that stand for
code, and so writes its own loop. That takes some hundredths of a second, so
nothing is kept on disk.
"""

from rnncli.engine.compiled.loop import CompiledCell as CompiledCell
from rnncli.engine.compiled.loop import can_compile as can_compile
