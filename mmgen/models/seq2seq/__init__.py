"""Rewriter: text to text, for translation and for summaries."""
