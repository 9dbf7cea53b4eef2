"""Measuring: a run builds labs, measures rounds, proves the path, and stops when it has measured enough."""
