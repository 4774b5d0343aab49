"""Evaluation: the judge, scores with intervals, pictures and the report."""
