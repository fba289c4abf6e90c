"""Runnable examples; start them from the root of the repository."""
