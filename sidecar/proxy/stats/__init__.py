"""What is counted and logged, and its forms: Envoy's text, Prometheus, access logs."""
