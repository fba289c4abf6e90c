"""The load generator: a process of its own, and cheaper than any server that it measures."""
