"""The report: everything about a run on one page."""
