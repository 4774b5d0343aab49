"""Fused: one answer from a picture, a text, or both."""
