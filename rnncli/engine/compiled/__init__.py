"""Loops over time that are compiled when they are run, by LLVM.

The equation of a cell (`Cell.step`) is computed with vectors that stand for
code, and so writes its own loop. That takes some hundredths of a second, so
nothing is kept on disk.

`code` writes the language of LLVM, and with it `activations` and `steps` a
loop; `loops` says for what it is written, and how arrays lie; `machine`
compiles it; `compiling` gives it the arrays of a run.
"""

from rnncli.engine.compiled.compiling import compiling as CompiledCell
from rnncli.engine.compiled.loops import can_compile as can_compile
