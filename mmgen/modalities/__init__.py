"""Kinds of data: bytes <-> checked arrays <-> tensors <-> something that a person can look at or listen to."""

NAMES = ("image", "text", "sound", "video", "music")
"""The modalities; each is a module of this package."""
