"""The chat of `examples/chat` on several processes, which are linked by Redis."""
