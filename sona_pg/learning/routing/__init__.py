"""Choosing routes: posterior, exploration, budget, off-policy evaluation."""
