"""Networks: cells, layers, seeds and model files."""
