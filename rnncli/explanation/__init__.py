"""How a step came about: its products, sums and activations, with the numbers in them."""
