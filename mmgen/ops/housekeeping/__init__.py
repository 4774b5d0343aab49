"""Housekeeping: what nobody needs any more."""
