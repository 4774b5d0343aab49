"""Fusion: several modalities through one latent space."""
