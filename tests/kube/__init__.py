"""The Kubernetes adapter."""
