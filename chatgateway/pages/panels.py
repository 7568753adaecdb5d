"""What the wires tell the playground of themselves: a panel a wire, of which each wire has its own module."""

from functools import cache
from importlib import import_module

from integrations.capabilities import CAPABILITIES
from integrations.playground import Panel


@cache
def panels() -> dict[str, Panel]:
    """Return every wire's panel, by the wire's name; a new wire is there by having one."""
    return {wire: import_module(f"integrations.{wire}.playground").PANEL for wire in CAPABILITIES}
