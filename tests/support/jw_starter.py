"""Start `jw` for tests from a process that has imported the libraries which it uses: that is most of its CPU time.

Each call of `jw` is a process of its own, forked from that one, which imports the modules of jobworker as any other.
What is tested of the start itself, of signals and of terminals runs `python -m jobworker_cli`, as `Jw.start` does.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# What Python and its libraries read of the environment once, at their start: where it differs, nothing is shared.
AT_START = ("PYTHON", "LANG", "LC_", "LD_", "TZ", "SSL_", "OPENSSL_")
LIBRARIES = ("typer", "rich.console", "websockets.asyncio.client", "msgspec.json", "ssl", "tomllib", "http.cookies")
ROOT = Path(__file__).parents[2]


def at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_START)}


class Starter:
    """The process that starts `jw`; it ends when this is closed."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "jw.sock")
        self._env = at_start(os.environ)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.jw_starter", str(listener.fileno())],
                stdin=subprocess.PIPE,  # its end ends the process
                stdout=subprocess.PIPE,  # never read: `jw` begins with streams of the kind that it will have
                stderr=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                cwd=ROOT,
            )

    def fits(self, env: Mapping[str, str]) -> bool:
        """Whether a `jw` with this environment starts as it would on its own."""
        return at_start(env) == self._env

    def run(
        self, words: Sequence[str], env: Mapping[str, str], cwd: str | None, timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Do what subprocess.run does, with the output captured as text and nothing to read."""
        end = time.monotonic() + timeout
        written = {}
        with socket.socket(socket.AF_UNIX) as call, selectors.DefaultSelector() as selector:
            call.connect(self._path)
            for _ in ("stdout", "stderr"):
                reader, writer = os.pipe()
                written[reader] = b""
                selector.register(reader, selectors.EVENT_READ)
                socket.send_fds(call, [b"."], [writer])
                os.close(writer)
            call.sendall(json.dumps([*words]).encode() + b"\n" + json.dumps([cwd or os.getcwd(), dict(env)]).encode())
            call.shutdown(socket.SHUT_WR)
            answers = call.makefile("r")
            pid = int(answers.readline())
            while selector.get_map():
                if not (ready := selector.select(end - time.monotonic())):
                    os.kill(pid, 9)
                    raise subprocess.TimeoutExpired([*words], timeout)
                for key, _ in ready:
                    if data := os.read(key.fd, 65536):
                        written[key.fd] += data
                    else:
                        selector.unregister(key.fd)
                        os.close(key.fd)
            code = int(answers.readline())
            answers.close()
        stdout, stderr = (data.decode().replace("\r\n", "\n").replace("\r", "\n") for data in written.values())
        return subprocess.CompletedProcess(["jw", *words], code, stdout, stderr)

    def close(self) -> None:
        self._process.communicate()


def receive(call: socket.socket) -> tuple[list[str], str, dict[str, str], list[int]]:
    streams = [socket.recv_fds(call, 1, 1)[1][0] for _ in range(2)]
    with call.makefile("rb") as request:
        words, (cwd, env) = (json.loads(line) for line in request)
    return words, cwd, env, streams


def serve(listener: socket.socket) -> list[str]:
    """Return the words of a call in its process; in this one, serve until stdin ends."""
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    running: dict[int, tuple[int, socket.socket]] = {}  # the calls, by the pidfd of the process of each
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                os._exit(0)
            if key.fileobj is not listener:
                pid, call = running.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError), call:  # the caller may have given up
                    call.sendall(b"%d\n" % code)
                continue
            call = listener.accept()[0]
            words, cwd, env, streams = receive(call)
            if not (pid := os.fork()):
                selector.close()
                for each in (listener, call, *(call for _, call in running.values())):
                    each.close()
                for place, fd in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
                    os.dup2(fd, place)
                    os.close(fd)
                for fd in running:
                    os.close(fd)
                os.environ.clear()
                os.environ.update(env)
                os.chdir(cwd)
                sys.path[0] = cwd
                return words
            for fd in streams:
                os.close(fd)
            with contextlib.suppress(OSError):
                call.sendall(b"%d\n" % pid)
            running[fd := os.pidfd_open(pid)] = (pid, call)
            selector.register(fd, selectors.EVENT_READ)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    sys.argv[1:] = serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("jobworker_cli", run_name="__main__", alter_sys=True)
