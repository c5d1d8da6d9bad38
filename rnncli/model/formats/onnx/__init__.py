"""ONNX files: `messages.py` reads one as a graph, and `writing.py` writes one."""
