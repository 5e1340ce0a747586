"""An sshd of this run's own on loopback, with keys of its own, as something to compare the input of jobs with."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DEADLINE = 20.0


@contextlib.contextmanager
def sshd() -> Iterator[list[str] | None]:
    """Run an sshd; yield the command that runs another one through it, None if there is no sshd that may run."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or not shutil.which("ssh") or os.geteuid():
        yield None
        return
    os.makedirs("/run/sshd", exist_ok=True)  # it refuses to start without this folder
    with tempfile.TemporaryDirectory(prefix="jobworker-sshd-") as folder:
        home = Path(folder)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
        port = _free_port()
        options = {
            "ListenAddress": f"127.0.0.1:{port}",
            "HostKey": home / "host",
            "AuthorizedKeysFile": home / "user.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "prohibit-password",
            "PidFile": "none",
        }
        config = home / "config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        server = subprocess.Popen([program, "-D", "-f", config], stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
            yield ["ssh", "-F", "none", "-i", str(home / "user"), "-p", str(port), *known, "127.0.0.1"]
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
