"""Text to speech: aligned, predicted and tiled from real frames, learned from minutes of one voice."""
