"""Checks of a cluster before a run: `mmgen cluster check`.

Each check is a function that takes a `View` of the cluster and yields findings; `examine.py` lists them.
"""
