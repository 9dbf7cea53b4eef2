"""What is counted and logged, and its output formats: Envoy's text, Prometheus, access logs."""
