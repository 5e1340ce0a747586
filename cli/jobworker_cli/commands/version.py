"""`jw version`: which jw this is."""

from jobworker import __version__
from jobworker_cli import options, output


def version(json_: options.Json = False) -> int:
    """Print the version of jw."""
    if json_:
        output.emit_json({"version": __version__})
    else:
        output.emit(__version__)
    return 0
