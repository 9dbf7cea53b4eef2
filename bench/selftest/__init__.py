"""Tests of the instrument against a known truth."""
