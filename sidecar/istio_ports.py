"""The numbers of Istio's ports (istio.io/latest/docs/ops/deployment/application-requirements)."""

ADMIN = 15000
OUTBOUND = 15001
VALIDATION = 15002  # the port that `--run-validation` dials
DEBUG = 15004
INBOUND = 15006
TUNNEL = 15008
AGENT = 15020
HEALTH = 15021
DNS = 15053
STATS = 15090
