"""The rule of this folder, which keeps `make test-fast` fast."""

import socket
import subprocess

import pytest


def test_a_process_or_a_connection_fails_the_test() -> None:
    with pytest.raises(RuntimeError, match=r"subprocess\.Popen in tests/unit"):
        subprocess.run(["true"], check=False)
    with socket.socket() as sock, pytest.raises(RuntimeError, match=r"socket\.connect in tests/unit"):
        sock.connect(("127.0.0.1", 1))
