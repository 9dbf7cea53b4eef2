"""Istio in the small: rules, injection, proxies and their configuration; knows nothing of benchmarks."""
