"""From a model file to the same model in another precision, without its checkpoint and without torch."""
