"""What building a wheel needs beside pyproject.toml."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PackageHook(BuildHookInterface):
    """Puts `sidelab.py` into a wheel as the package's own file; `pip install -e` finds it in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add it, unless `version` says that the checkout itself is to be found."""
        if version != "editable":
            build_data["force_include"]["sidelab.py"] = "sidelab/__init__.py"
