"""Runs on this machine, by KFP's own runner."""
