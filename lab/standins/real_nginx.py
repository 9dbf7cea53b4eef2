"""Real nginx, of this machine, in the place of the stand-in: which binary, and with what configuration.

Only describes: nothing is started here.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from sidelab.lab.errors import MachineError
from sidelab.lab.plan.registry import Command

ROOT = "/usr/share/nginx/html"
"""Where both Debian's package and the image from Docker Hub have their welcome page."""

# One process under its own user, because a container has no capabilities here to change that with; what a request
# goes through is the same. Temporary files go where a pod may write. No access log, as the stand-in has none: what is
# measured with either should differ in the server alone.
_CONFIGURATION = """\
daemon off;
master_process off;
user root;
pid /tmp/nginx.pid;
events {{ worker_connections 16384; }}
http {{
    default_type text/plain;
    types {{ text/html html; }}
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path /tmp/nginx-body;
    proxy_temp_path /tmp/nginx-proxy;
    fastcgi_temp_path /tmp/nginx-fastcgi;
    uwsgi_temp_path /tmp/nginx-uwsgi;
    scgi_temp_path /tmp/nginx-scgi;
    server {{
        {listen}
        root {root};
    }}
}}
"""

_START = 'printf %s "$0" >/tmp/nginx.conf && exec "$1" -e stderr -c /tmp/nginx.conf'


def nginx(ports: Iterable[int]) -> Command:
    """Return what runs this machine's nginx on `ports` of a pod with its welcome page; on IPv6 too where there is some.

    Raises `MachineError` where there is none.
    """
    binary = find()
    hosts = ("", "[::]:") if Path("/proc/net/if_inet6").exists() else ("",)
    listen = " ".join(f"listen {host}{port};" for port in ports for host in hosts)
    return Command(("/bin/sh", "-c", _START, _CONFIGURATION.format(listen=listen, root=ROOT), binary))


@cache
def find() -> str:
    """Return the path of nginx; raises `MachineError` where there is none."""
    binary = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if binary is None:
        raise MachineError("there is no nginx here: `apt install nginx-light`, or leave --images at `standin`")
    return binary


@cache
def version() -> str:
    """Return nginx's version, such as 1.22.1; raises `MachineError` where there is none."""
    done = subprocess.run([find(), "-v"], capture_output=True, encoding="utf-8", errors="replace", check=False)
    found = re.search(r"nginx/(\S+)", done.stderr)
    if found is None:
        raise MachineError(f"{find()} -v does not tell its version: {(done.stderr or done.stdout).strip()[:200]}")
    return found[1]
