"""`python -m sidelab.sidecar.envoy`: see `main`."""

import sys

from sidelab.lab.errors import SidelabError
from sidelab.sidecar.envoy.main import run

try:
    run(sys.argv)
except SidelabError as error:
    sys.stderr.write(f"sidelab: {error}\n")
    sys.exit(error.exit_status)
