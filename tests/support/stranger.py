"""Another user of this host: a real process under a uid of its own, which does what it can to be in our way."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

UID = 61234  # in no passwd entry


@contextlib.contextmanager
def as_stranger(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run Python code as another user until it has printed a line; it is ended by the end of its input."""
    become = f"os.setgroups([]); os.setgid({UID}); os.setuid({UID}); os.umask(0o022)"
    script = f"import fcntl, os, struct, sys\n{become}\n{code}\nprint('ready', flush=True)\nsys.stdin.read()\n"
    command = [sys.executable, "-I", "-S", "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.communicate()


def let_in(folder: Path) -> None:
    """Let every user enter a folder of a test, and those above it, which pytest makes for its own user alone."""
    for above in (folder, *folder.parents):
        if above == Path(tempfile.gettempdir()):
            return
        above.chmod(0o755)
