"""Tunes in ABC, character by character, for an asked kind, key and metre."""
