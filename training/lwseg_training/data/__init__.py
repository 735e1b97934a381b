"""Samples: pairs of files into varied, batched tensors."""
