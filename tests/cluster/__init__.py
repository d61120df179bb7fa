"""Tests on the development cluster."""
