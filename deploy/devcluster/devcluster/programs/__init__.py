"""Small servers of our own that run as components."""
