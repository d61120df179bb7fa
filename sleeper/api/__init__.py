"""HTTP edges of the daemon: audit sink (TLS), health and metrics, read API (loopback)."""
