"""Bag reading, live and offline replay, and the report."""
