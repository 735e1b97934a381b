"""Inputs that nobody would write, by the million: `python -m fuzz` from this folder's parent, or `make fuzz`.

Each kind has a module with a function `check(seed)`, which makes one input of that seed and returns what became of it. It
raises whatever should not have happened: an error that is not documented, or an AssertionError for a silent wrong answer.
"""
