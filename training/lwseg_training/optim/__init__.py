"""How weights move: optimizers, learning rates, averages."""
