"""What several of the plugins here make of their table in the configuration, and of the names of others."""

from typing import Any, TypeVar

import msgspec

from jobworker.errors import Unauthenticated
from jobworker.explain import explain
from jobworker.interfaces import PluginContext

S = TypeVar("S", bound=msgspec.Struct)
LONGEST_NAME = 255


def settings(context: PluginContext, kind: type[S]) -> S:
    """Return the plugin's own table as a type; raise ValueError with field, value and what was expected."""
    table = dict(context.settings)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"[plugins.{context.name}] {explain(str(error), table)[1]}") from error


def usable_name(name: Any, where: str) -> str:
    """Return what a credential calls its owner; raise Unauthenticated for what no log should hold."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        shown = repr(name[:80]) if isinstance(name, str) else type(name).__name__
        raise Unauthenticated(f"{where}: {shown}; expected a text of 1 to {LONGEST_NAME} printable characters")
    return name
