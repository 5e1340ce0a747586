"""`jw version`: print the version."""

from jobworker import __version__
from jobworker_cli import options, output
from jobworker_cli.command import command


@command
def version(json_: options.Json = False) -> None:
    """Print the version of jw."""
    output.show({"version": __version__}, [__version__], as_json=json_)
