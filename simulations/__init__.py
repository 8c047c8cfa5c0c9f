"""Consortiums on one machine: the demo, faults on purpose, and the measurements against the alternatives."""
