"""For tests of apps, and of what is built on this library."""
