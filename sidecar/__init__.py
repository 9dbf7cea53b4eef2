"""A small Istio: rules, injection, proxies and their configuration; knows nothing about benchmarks."""
