"""Files that an operator gives the agent, as a secret of Kubernetes or Docker, and what `fsGroup` does to our own."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.stranger import UID, let_in

from jobworker.paths import Home
from jobworker.testing import RunningAgent
from jobworker.tls import certificates

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

GROUP = 61299  # an `fsGroup`, which no database of the container knows

CHECK = """
import os, sys
from pathlib import Path
from jobworker import private
from jobworker.errors import StartError
os.setgroups([int(sys.argv[2])]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
try:
    getattr(private, sys.argv[3])(Path(sys.argv[4]))
    Path(sys.argv[4]).open("rb") if sys.argv[3] == "require_given" else None
except StartError as error:
    print(error.message, error.hint, sep="\\n")
"""


def check(rule: str, path: Path, uid: int = UID) -> str:
    """Return why a rule refuses a file or folder for an agent of this user in the group GROUP; "" if it does not."""
    command = [sys.executable, "-c", CHECK, *map(str, (uid, GROUP, rule, path))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def open_tmp(tmp_path: Path) -> Path:
    let_in(tmp_path)
    return tmp_path


@pytest.fixture
def secret() -> Iterator[Path]:
    """A volume with a secret as Kubernetes mounts it: on a tmpfs, with links, in a sticky folder of `fsGroup`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        volume = Path(folder)
        os.chown(volume, 0, GROUP)
        volume.chmod(0o3777)
        version = volume / "..2026"
        version.mkdir()
        version.chmod(0o2755)
        (version / "tls.key").write_text("key")
        os.chown(version / "tls.key", 0, GROUP)
        (volume / "..data").symlink_to("..2026")
        (volume / "tls.key").symlink_to("..data/tls.key")
        yield volume / "tls.key"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o644])
@pytest.mark.parametrize("uid", [UID, 0])
def test_a_key_from_a_secret(secret: Path, mode: int, uid: int) -> None:
    """The key is taken with each mode that `defaultMode` commonly has, whether the agent is root or not."""
    secret.resolve().chmod(mode)
    if mode == 0o400 and uid:
        os.chown(secret.resolve(), uid, GROUP)
    assert check("require_given", secret, uid) == ""


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o440), (0, 0o640), (UID, 0o600), (UID, 0o400)])
def test_a_key_on_a_disk(open_tmp: Path, owner: int, mode: int) -> None:
    """Root may let a group read the key of an agent that runs as another user."""
    key = open_tmp / "key"
    key.write_text("key")
    os.chown(key, owner, GROUP)
    key.chmod(mode)
    assert check("require_given", key) == ""


@pytest.mark.parametrize(
    ("owner", "mode", "said"),
    [
        (0, 0o444, "chmod 440"),
        (UID, 0o640, "chmod 600"),
        (UID, 0o644, "chmod 600"),
        (UID + 1, 0o444, f"belongs to uid {UID + 1}"),
        (UID, 0o602, "can be written by every user"),
    ],
)
def test_a_key_that_is_refused(open_tmp: Path, owner: int, mode: int, said: str) -> None:
    """Who else could read or change it is refused, and the hint is about this file and not about the state folder."""
    key = open_tmp / "key"
    key.write_text("key")
    os.chown(key, owner, GROUP)
    key.chmod(mode)
    refused = check("require_given", key)
    assert said in refused
    assert str(key) in refused
    assert "JOBWORKER_HOME" not in refused


def test_the_volume_of_a_state_folder(open_tmp: Path) -> None:
    """A folder in a volume of root with the rights of `fsGroup` is trusted: no other user is in that group."""
    volume = open_tmp / "volume"
    volume.mkdir()
    os.chown(volume, 0, GROUP)
    volume.chmod(0o2775)
    assert check("make_private", volume / "home") == ""
    assert stat.S_IMODE((volume / "home").stat().st_mode) & 0o777 == 0o700


def test_a_group_with_other_members(open_tmp: Path) -> None:
    """A folder that a group with other users in it can write is refused."""
    shared = open_tmp / "shared"
    shared.mkdir()
    os.chown(shared, 0, 65534)  # the primary group of the user `nobody`
    shared.chmod(0o2775)
    assert "can be written by the group 65534" in check("make_private", shared / "home")


async def test_a_volume_that_is_mounted_again(home: Home, start: Callable[..., RunningAgent]) -> None:
    """The second start of a pod finds the rights of `fsGroup` on all that the first one made, and takes them away."""
    start().end()
    for path in [home.path, *home.path.rglob("*")]:
        if path.is_symlink():
            continue
        os.chown(path, -1, GROUP)
        path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o2770 if path.is_dir() else 0o660))
    agent = start()
    assert agent.jw("run", "--", "echo", "again").stdout == "again\n"
    for path in (home.path, home.tls):
        assert stat.S_IMODE(path.stat().st_mode) & 0o777 == 0o700
    for path in (home.tokens, home.tls / "server.key", home.tls / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_key_of_an_agent(home: Home, tmp_path: Path, start: Callable[..., RunningAgent], secret: Path) -> None:
    """An agent serves with a certificate and a key that are mounted from a secret."""
    certificates.make_all(tmp_path / "pair", ["localhost", "127.0.0.1"])
    secret.resolve().write_bytes((tmp_path / "pair" / "server.key").read_bytes())
    secret.resolve().chmod(0o440)
    cert = tmp_path / "pair" / "server.pem"
    home.tls.mkdir(mode=0o700, parents=True)
    home.path.chmod(0o700)
    (home.tls / "ca.pem").write_bytes((tmp_path / "pair" / "ca.pem").read_bytes())
    agent = start(f'[server]\ncert = "{cert}"\nkey = "{secret}"\n')
    assert agent.jw("run", "--", "echo", "served").stdout == "served\n"


@pytest.mark.parametrize("given", ["a folder", "nothing"])
def test_what_is_no_file(home: Home, tmp_path: Path, given: str) -> None:
    """The error does not call a folder missing, as when the path of its file was meant."""
    cert = tmp_path / "cert"
    if given == "a folder":
        cert.mkdir()
    agent = RunningAgent(home)
    home.create()
    home.config.write_text(f'[server]\ncert = "{cert}"\nkey = "{cert}"\n')
    said = agent.jw("agent", "start").stderr
    assert f"{cert}: {'is not a regular file' if given == 'a folder' else 'there is no such file'}" in said
