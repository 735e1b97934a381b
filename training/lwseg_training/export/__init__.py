"""From a checkpoint to a model file: calibration, the graph, parity."""
