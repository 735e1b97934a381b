"""Replay through the live node: player, node and collector in processes of their own."""
