"""Tests of the HTTP edges."""
