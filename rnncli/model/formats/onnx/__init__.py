"""ONNX files as layers.

`messages.py` reads a file as nodes and arrays. `graph.py` guesses which axes of the input are steps
and sequences; for each guess, `walk.py` runs the nodes over labels, which tell the row that a value
comes from. Recurrent nodes become layers (`recurrent.py`). The nodes between them become steps over
single rows (`rnncli.model.graph.rows`), or a layer of whole sequences (`whole_sequences.py`).
"""
