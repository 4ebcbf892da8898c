"""Readers of recorded samples, a file for each family of schemas."""
