"""Judges: who scores what a model makes, and how a judge learns."""
