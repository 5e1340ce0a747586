"""A secret with something around it is used without that, or refused without being shown."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import DEADLINE, RunningAgent

from jobworker import client, errors

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

SECRET = "jw1_do-not-show-this"


@pytest.mark.parametrize("around", ["{}\n", "{}\r", "\ufeff{}\r\n"])
def test_a_token_from_a_file_with_its_end_of_line(
    jw: "Jw", shared: RunningAgent, around: str, tmp_path: Path
) -> None:
    """As JW_TOKEN="$T"$'\\n' gives it, in a variable, a flag, a file and from Python."""
    token = around.format(shared.token)
    agent = {"JW_ADDRESS": shared.address + "\r\n", "JW_CA": str(shared.ca)}
    assert jw("ps", JW_TOKEN=token, **agent).returncode == 0
    assert jw("--token", token, "ps", **agent).returncode == 0
    (tmp_path / "token").write_bytes(token.encode())
    place = {"XDG_CONFIG_HOME": str(tmp_path)}
    added = ["context", "add", "mine", "--address", shared.address, "--ca", str(shared.ca), "--force"]
    assert jw(*added, "--token-file", str(tmp_path / "token"), **place).returncode == 0
    assert jw("--context", "mine", "ps", **place).returncode == 0
    with client.connect_blocking(shared.address, token=token, ca=shared.ca) as connected:
        assert connected.whoami().roles == ["admin"]


@pytest.mark.parametrize("middle", ["\n", "\r\nX-Role: admin", "\ufeff", "\udcff"])
def test_a_token_that_no_header_can_hold(jw: "Jw", shared: RunningAgent, middle: str) -> None:
    """It is in no error, and in no traceback."""
    token = SECRET + middle + SECRET
    env = {"JW_ADDRESS": shared.address, "JW_CA": str(shared.ca), "JW_DEBUG": "1"}
    for done in (jw("ps", JW_TOKEN=token, **env), jw("--token", token, "ps", **env)):
        assert (done.returncode, "the token is empty or malformed" in done.stderr) == (2, True), done
        assert SECRET not in done.stdout + done.stderr
    with pytest.raises(errors.ConnectionFailed) as caught:
        client.connect_blocking(shared.address, token=token, ca=shared.ca).__enter__()
    assert SECRET not in str(caught.value)

    async def connect() -> None:
        async with client.connect(shared.address, token=token, ca=shared.ca):
            pass

    with pytest.raises(errors.ConnectionFailed) as caught:
        asyncio.run(connect())
    assert SECRET not in str(caught.value)


def test_a_password_in_the_address(jw: "Jw") -> None:
    for arguments, env in (
        (["--address", f"wss://me:{SECRET}@x/rpc", "ps"], {}),
        (["ps"], {"JW_ADDRESS": f"wss://{SECRET}@x"}),
    ):
        done = jw(*arguments, **env)
        assert (done.returncode, SECRET in done.stderr) == (2, False)
        assert "expected wss://HOST:PORT/rpc, and a token beside it" in done.stderr
    with pytest.raises(errors.ConnectionFailed) as caught:
        client.connect_blocking(f"wss://me:{SECRET}@localhost:1/rpc").__enter__()
    assert SECRET not in str(caught.value)


@pytest.mark.usefixtures("jw")
def test_a_token_from_a_pipe_that_does_not_block(shared: RunningAgent, tmp_path: Path) -> None:
    """It is waited for; one that is not UTF-8 is refused without an error of Python."""
    command = [
        sys.executable,
        "-m",
        "jobworker_cli",
        "context",
        "add",
        "piped",
        "--force",
        "--address",
        shared.address,
    ]
    for data, code in ((f"{shared.token}\n".encode(), 0), (b"\xff" + SECRET.encode(), 2)):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
        process = subprocess.Popen([*command, "--ca", str(shared.ca)], stdin=reader, stdout=-1, stderr=-1, env=env)
        os.close(reader)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)  # it waits
        os.write(writer, data)
        os.close(writer)
        _, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, SECRET.encode() in err, b"Error" in err) == (code, False, False), err
