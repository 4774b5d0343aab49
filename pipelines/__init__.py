"""Wiring of the components, their local run, and the command line."""
