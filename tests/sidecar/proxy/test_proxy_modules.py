"""How the proxy's modules hang together."""

from graphlib import TopologicalSorter

from test_imports import IMPORTS, modules

PACKAGES = {name for name, path in modules().items() if path.name == "__init__.py"}
PROXY = [name for name in IMPORTS if name.startswith("sidelab.sidecar.proxy.")]
NEEDED = {name: (IMPORTS[name] & IMPORTS.keys()) - PACKAGES for name in PROXY}


def test_no_module_of_the_proxy_needs_itself():
    """Imports of the proxy's modules have no circles; those under TYPE_CHECKING count."""
    assert "sidelab.sidecar.proxy.exchange.http_connection" in NEEDED
    TopologicalSorter(NEEDED).prepare()


def test_no_module_of_the_proxy_imports_too_many():
    """None imports more than 14 modules of ours, the one that puts everything together included."""
    assert {} == {name: len(needed) for name, needed in NEEDED.items() if len(needed) > 14}
