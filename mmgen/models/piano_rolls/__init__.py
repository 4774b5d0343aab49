"""Rolls: music of several voices, chord by chord."""
