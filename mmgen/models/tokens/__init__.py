"""A Transformer over discrete tokens: captions from pictures, and pictures from captions."""
