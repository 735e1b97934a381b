"""A run from its start to its summary: the loop, its tasks, its checkpoints."""
