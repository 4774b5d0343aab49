"""Validation: data sets held against expectations, and against the version that is pinned."""
