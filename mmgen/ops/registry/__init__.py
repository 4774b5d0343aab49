"""The registry: versions of models, who is champion, and where each comes from."""
