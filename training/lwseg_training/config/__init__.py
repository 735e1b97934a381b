"""Recipes: what decides what a run makes. Knows no torch."""
