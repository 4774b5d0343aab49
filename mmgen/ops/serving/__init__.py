"""Serving: a registered model behind HTTP, within limits."""
