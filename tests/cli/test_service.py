"""`jw agent install`: the units as they are shipped and written. tests/vm has systemd that runs them."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker_cli import service

if TYPE_CHECKING:
    from tests.cli.conftest import Jw

JW = Path(sys.executable).with_name("jw")
SYSTEM = "etc/systemd/system/jobworker.service"
BOOTED = Path("/run/systemd/system").is_dir()

needs_systemctl = pytest.mark.skipif(not shutil.which("systemctl"), reason="there is no systemctl here")
needs_no_systemd = pytest.mark.skipif(BOOTED, reason="systemd runs here: the tests must not change its units")


def exec_start(unit: Path) -> str:
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=")


@needs_systemctl
def test_install_writes_and_enables_the_unit(jw: "Jw", tmp_path: Path) -> None:
    """The path goes to stdout, what was done to stderr; twice is as good as once, and uninstall takes all back."""
    config = tmp_path / "a folder" / "100%.toml"
    config.parent.mkdir()
    config.write_text("[server]\nport = 7443\n")
    root = tmp_path / "root"
    install = ("agent", "install", "--systemd", "--root", str(root), "--config", str(config))
    done = jw(*install)
    assert done.returncode == 0, done
    unit = root / SYSTEM
    assert done.stdout == f"{unit}\n"
    assert f"jw: wrote {unit}\n" in done.stderr
    assert "jw: enabled jobworker.service: it starts when the host boots\n" in done.stderr
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    assert exec_start(unit) == f'{JW} agent run --config "{tmp_path}/a folder/100%%.toml"'
    assert f"Environment=JOBWORKER_HOME={os.environ['JOBWORKER_HOME']}\n" in unit.read_text()
    link = root / "etc/systemd/system/multi-user.target.wants/jobworker.service"
    assert link.is_symlink()
    assert "is up to date" in jw(*install).stderr
    assert jw("agent", "uninstall", "--systemd", "--root", str(root)).stdout == f"{unit}\n"
    assert not unit.exists()
    assert not link.is_symlink()
    again = jw("agent", "uninstall", "--systemd", "--root", str(root))
    assert again.returncode == 1
    assert f"{unit}: there is no such unit" in again.stderr


@needs_systemctl
def test_a_unit_that_differs_is_kept(jw: "Jw", tmp_path: Path) -> None:
    unit = tmp_path / SYSTEM
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    install = ("agent", "install", "--systemd", "--root", str(tmp_path))
    refused = jw(*install)
    assert refused.returncode == 1
    assert f"{unit} exists and differs" in refused.stderr
    assert "hint: --force" in refused.stderr
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert jw(*install, "--force").returncode == 0
    assert exec_start(unit) == f"{JW} agent run"


def test_a_configuration_that_would_not_start_is_refused(jw: "Jw", tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[server]\nprot = 7443\n")
    done = jw("agent", "install", "--systemd", "--root", str(tmp_path), "--config", str(config))
    assert done.returncode == (6 if shutil.which("systemctl") else 1)
    assert not (tmp_path / SYSTEM).exists()


@needs_no_systemd
def test_what_is_missing_is_named(jw: "Jw", tmp_path: Path) -> None:
    bare = jw("agent", "install")
    assert bare.returncode == 2
    assert "expected --systemd" in bare.stderr
    done = jw("agent", "install", "--systemd", "--user", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "systemd" in done.stderr
    assert "hint: jw agent start" in done.stderr
    assert not list(tmp_path.glob("systemd/**/*"))


def test_only_root_writes_the_unit_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Exception, match="only root can write it, this is uid 1000") as caught:
        service.Systemd().require()
    assert "--systemd --user" in getattr(caught.value, "hint", "")


@pytest.mark.parametrize("user", [False, True])
def test_systemd_understands_the_units(tmp_path: Path, user: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directive and value, as they are shipped (but for the path of jw) and as they are written."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    monkeypatch.setenv("JOBWORKER_HOME", '/srv/a "b" $c')
    unit = tmp_path / "jobworker.service"
    shipped = (service.TEMPLATES / ("user" if user else "") / service.UNIT).read_text()
    assert "ExecStart=/usr/local/bin/jw agent run\n" in shipped
    for text in (
        shipped.replace("/usr/local/bin/jw", str(JW)),
        service.unit_text(service.Systemd(user), Path('/etc/a "b" $c %d.toml')),
    ):
        unit.write_text(text)
        command = ["systemd-analyze", "verify", "--man=no", *(["--user"] if user else []), str(unit)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
        )
        said = [line for line in done.stderr.splitlines() if unit.name in line or str(unit) in line]
        assert not said


def test_units_are_where_packagers_look() -> None:
    root = Path(__file__).parents[2]
    assert (root / "packaging" / "systemd").resolve() == service.TEMPLATES.resolve()
