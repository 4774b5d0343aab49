"""Runs: their keys, their stages, each made once, and what each attempt cost."""
