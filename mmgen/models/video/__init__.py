"""Clips: short videos from words, from a picture, from their beginning."""
