"""`jw agent install` and `uninstall`: the agent as a systemd service."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobworker.errors import JobworkerError
from jobworker.paths import Home
from jobworker_cli import output

TEMPLATES = Path(__file__).with_name("systemd")
UNIT = "jobworker.service"
SYSTEMD_RUNS = Path("/run/systemd/system")  # exists when systemd is the init of this host
SYSTEMCTL_SECONDS = 180.0  # seconds for systemctl: a start waits until the agent serves


@dataclass(frozen=True)
class Systemd:
    """A service manager: the host's, or with `user` a user's; with `root` that of an image under this folder."""

    user: bool = False
    root: Path | None = None

    @property
    def unit(self) -> Path:
        """The path of the unit: in /etc/systemd, or for `user` in the user's configuration folder."""
        if self.user:
            base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
            path = Path(base).expanduser().absolute() / "systemd" / "user" / UNIT
        else:
            path = Path("/etc/systemd/system") / UNIT
        return path if self.root is None else self.root / path.relative_to("/")

    def __str__(self) -> str:
        return "systemctl --user" if self.user else "systemctl"

    def require(self) -> None:
        """Raise JobworkerError if units cannot be changed here: not root, no systemctl, systemd not running."""
        if not self.user and self.root is None and os.geteuid() != 0:
            raise JobworkerError(
                f"{self.unit}: only root can write it, this is uid {os.geteuid()}",
                hint="sudo jw agent install --systemd, or jw agent install --systemd --user for an agent of your own",
            )
        if shutil.which("systemctl") is None:
            raise JobworkerError("no systemctl in PATH: this host has no systemd", hint="jw agent start")
        if self.root is None and not SYSTEMD_RUNS.is_dir():
            raise JobworkerError(
                f"systemd does not run on this host: there is no {SYSTEMD_RUNS}",
                hint="jw agent start, or --root DIR to install into an image that is not booted",
            )

    def run(self, *words: str) -> str:
        """Run systemctl and return its output; raise JobworkerError with its stderr."""
        place = ["--user"] if self.user else []
        place += [f"--root={self.root}"] if self.root is not None else []
        if self.user and self.root is not None:
            place[0] = "--global"  # no user is logged in to an image: enable it for all users
        try:
            done = subprocess.run(
                ["systemctl", *place, *words], capture_output=True, text=True, check=False, timeout=SYSTEMCTL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise JobworkerError(f"{self} {' '.join(words)}: it takes more than {SYSTEMCTL_SECONDS:g} s") from None
        if done.returncode:
            hint = f"journalctl{' --user' if self.user else ''} -u {UNIT}"
            if self.user and "bus" in done.stderr:
                hint = "log in as this user (su and sudo are no login), or: machinectl shell USER@"
            raise JobworkerError(f"{self} {' '.join(words)}: {done.stderr.strip()}", hint=hint)
        return done.stdout


def unit_text(systemd: Systemd, config: Path | None, jw: Sequence[str] = ()) -> str:
    """Return the unit: the template with the `jw` in use, or the one given, and the state folder that was chosen."""
    template = (TEMPLATES / ("user" if systemd.user else "") / UNIT).read_text()
    words = [*(jw or own_command()), "agent", "run", *(["--config", str(config)] if config else [])]
    lines = ["ExecStart=" + " ".join(map(quote, words))]
    if chosen := os.environ.get("JOBWORKER_HOME"):
        lines.append("Environment=" + quote(f"JOBWORKER_HOME={Path(chosen).expanduser().absolute()}", dollar=False))
    return re.sub(r"^ExecStart=.*$", lambda _: "\n".join(lines), template, count=1, flags=re.MULTILINE)


def own_command() -> list[str]:
    """Return the command of this `jw` by absolute path: a service has another PATH."""
    program = Path(sys.executable).with_name("jw")
    return [str(program)] if os.access(program, os.X_OK) else [sys.executable, "-m", "jobworker_cli"]


def quote(word: str, *, dollar: bool = True) -> str:
    """Quote a word for a unit; in ExecStart= a `$` would begin a variable."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    word = word.replace("$", "$$") if dollar else word
    return word if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII) else f'"{word}"'


def install(systemd: Systemd, config: Path | None, home: Home, *, start: bool, force: bool) -> Path:
    """Write the unit, enable it and, with `start`, start it; return its path. Raises JobworkerError."""
    systemd.require()
    if config is not None:
        config = config.absolute()
        _check(config)
    text, path = unit_text(systemd, config), systemd.unit
    before = path.read_text() if path.exists() else None
    if before not in (None, text) and not force:
        raise JobworkerError(
            f"{path} exists and differs from what would be written",
            hint="--force replaces it; keep your own changes in a drop-in: systemctl edit jobworker",
        )
    live = systemd.root is None
    if live and start:
        _require_no_other_agent(systemd, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, text)
    output.note(f"wrote {path}" if before != text else f"{path} is up to date")
    if live:
        systemd.run("daemon-reload")
    systemd.run("enable", UNIT)
    output.note(f"enabled {UNIT}: it starts {'when you log in' if systemd.user else 'when the host boots'}")
    if live and start:
        systemd.run("start" if before in (None, text) else "restart", UNIT)
        output.note(f"started {UNIT}; {systemd} status jobworker shows it")
    return path


def uninstall(systemd: Systemd) -> Path:
    """Stop the agent, disable the unit and remove it; return its path. Raises JobworkerError."""
    systemd.require()
    path = systemd.unit
    if not path.exists():
        raise JobworkerError(f"{path}: there is no such unit", hint="--user, or no --user, for the other one")
    systemd.run("disable", *(["--now"] if systemd.root is None else []), UNIT)
    path.unlink()
    if systemd.root is None:
        systemd.run("daemon-reload")
    output.note(f"disabled {UNIT} and removed {path}")
    return path


def _check(config: Path) -> None:
    """Raise StartError for a configuration that the agent refuses: the service would restart in a loop."""
    from jobworker.config import load

    load(config)


def _require_no_other_agent(systemd: Systemd, home: Home) -> None:
    """Raise JobworkerError if another agent runs on the state folder: the service could not start."""
    from jobworker.client.local import agent_pid

    pid = agent_pid(home) if home.path.exists() else None
    if pid is None or systemd.run("show", "--property=MainPID", "--value", UNIT).strip() == str(pid):
        return
    raise JobworkerError(
        f"an agent already runs on {home.path} (pid {pid}), outside the service",
        hint="jw agent stop --jobs first (without --jobs, jobs stay outside the service until they end)",
    )


def _replace(path: Path, text: str) -> None:
    """Replace a unit atomically, readable by everyone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
