"""Sending jobs to a cluster: what is sent, under which name, and what is said about it."""
