"""Tracking: what MLflow is told of a run, now or later."""
