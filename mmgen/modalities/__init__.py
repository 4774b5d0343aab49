"""Kinds of data: bytes <-> checked arrays <-> tensors <-> something that a person can look at."""
