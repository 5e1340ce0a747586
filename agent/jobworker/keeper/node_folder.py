"""The run folder of a runner: sockets and FIFOs on this node, in memory if possible, and never on a shared disk."""

import os
from collections.abc import Callable

PLACES = ("/dev/shm", "$TMPDIR", "/tmp")
SOCKET_BYTES = 107  # of the path of a socket, by the kernel's limit
ATTEMPTS = 8  # at a name that is free


def make_node_folder() -> str:
    """Make a folder that only this user can reach, and return it; raise OSError with the reason of the last place."""
    refused = OSError("no place for sockets and FIFOs")
    for place in dict.fromkeys(os.path.expandvars(place) for place in PLACES):
        if not place.startswith("/"):
            continue  # the variable is not set
        for _ in range(ATTEMPTS):
            folder = f"{place}/jobworker-{os.geteuid()}-{os.urandom(6).hex()}"  # as of an agent, which removes it too
            if len(os.fsencode(f"{folder}/pump.sock")) > SOCKET_BYTES:
                break
            try:
                os.mkdir(folder, 0o700)
                return folder
            except FileExistsError:
                continue
            except OSError as error:
                refused = error
                break
    raise refused


def remove_node_folder(folder: str) -> None:
    """Remove it with all that is ours in it."""
    for above, folders, files in os.walk(folder, topdown=False):
        for remove, names in ((os.unlink, files), (os.rmdir, folders)):
            for name in names:
                _try(remove, f"{above}/{name}")
    _try(os.rmdir, folder)


def _try(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
