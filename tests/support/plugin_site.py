"""A plugin as an installed distribution of its own."""

import textwrap
from collections.abc import Callable
from pathlib import Path

Install = Callable[[str, str], None]  # of the fixture `plugin`: a name and a source
BUILT_IN = '"token", "roles", "graceful", "kill", "total"'  # for plugins.enabled


def install_plugin(site: Path, name: str, source: str, module: str = "") -> None:
    """Put a module and the metadata of its distribution where Python finds them."""
    module = module or f"{name}_plugin"
    (site / f"{module}.py").write_text(textwrap.dedent(source))
    info = site / f"jobworker_{name.replace('-', '_')}-4.5.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: jobworker-{name}\nVersion: 4.5.6\n")
    (info / "entry_points.txt").write_text(f"[jobworker]\n{name} = {module}\n")
