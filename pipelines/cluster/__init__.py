"""Runs on a cluster with Kubeflow: compile, submit, schedule, watch."""
