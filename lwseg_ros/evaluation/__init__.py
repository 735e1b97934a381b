"""How good a model is, how steady and how fast: metrics, the evaluator, latency and what it was measured on."""
