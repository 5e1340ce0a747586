"""`jw completion`: print what makes a shell complete `jw`, and put it where the shell looks."""

import os
import subprocess
from pathlib import Path
from typing import Annotated

from jobworker_cli import completion, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Group, UsageError

group = Group(help="Complete commands, options, jobs and contexts in bash, zsh or fish.")
SHELL_SECONDS = 10.0  # for a zsh that reads the settings of its user
# What bash reads at its start if the completions of a distribution are installed.
LOADERS = ("/usr/share/bash-completion/bash_completion", "/etc/bash_completion")


@group.command()
@command
def bash() -> None:
    """Print the script for bash: eval "$(jw completion bash)" in ~/.bashrc."""
    output.emit_text(completion.script("bash"))


@group.command()
@command
def zsh() -> None:
    """Print the script for zsh: eval "$(jw completion zsh)" in ~/.zshrc, after compinit."""
    output.emit_text(completion.script("zsh"))


@group.command()
@command
def fish() -> None:
    """Print the script for fish: jw completion fish | source."""
    output.emit_text(completion.script("fish"))


@group.command()
@command
def install(
    shell: Annotated[
        str | None, Argument(metavar="[SHELL]", help="bash, zsh or fish; default: the login shell, $SHELL.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Write the script of a shell into the folder in which it looks for completions, and print the path."""
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in completion.SHELLS:
        expected = f"expected one of {', '.join(completion.SHELLS)}"
        raise UsageError(f"shell: {name!r}; {expected}" + ("" if shell else ", as $SHELL names none of them"))
    path, hint = {"bash": _for_bash, "zsh": _for_zsh, "fish": _for_fish}[name]()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(completion.script(name), encoding="utf-8")
    temporary.replace(path)
    output.show({"shell": name, "path": str(path)}, [str(path)], as_json=json_)
    if not json_:
        output.hint(hint or f"open a new {name}: it completes jw")


def _folder(variable: str, usual: str) -> Path:
    """Return the folder that a variable of the XDG specification names, or the usual one."""
    chosen = os.environ.get(variable, "")
    return Path(chosen) if chosen.startswith("/") else _home() / usual


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("HOME is not set; expected the home folder of the user whose shell is to complete") from None


def _for_bash() -> tuple[Path, str]:
    """Return where bash-completion looks for the script of a command when it is first completed, and a hint."""
    chosen = os.environ.get("BASH_COMPLETION_USER_DIR", "")
    folder = Path(chosen) if chosen else _folder("XDG_DATA_HOME", ".local/share") / "bash-completion"
    loaded = any(map(os.path.exists, LOADERS))
    hint = (
        ""
        if loaded
        else 'bash-completion is not installed; without it, add to ~/.bashrc: eval "$(jw completion bash)"'
    )
    return folder / "completions" / "jw", hint


def _for_zsh() -> tuple[Path, str]:
    """Return a folder of $fpath that this user can write, else one to add to it, and a hint."""
    home = _home()
    try:
        shown = subprocess.run(
            ["zsh", "-ic", "print -rl -- $fpath"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SHELL_SECONDS,
            check=False,
            start_new_session=True,  # an interactive shell would take the terminal
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        shown = ""
    places = [Path(line) for line in shown.splitlines() if line.startswith("/")]
    ours = [place for place in places if home in place.parents or place.match("/usr/local/*/site-functions")]
    for place in ours:
        if os.access(place if place.exists() else place.parent, os.W_OK):
            return place / "_jw", ""
    folder = _folder("XDG_DATA_HOME", ".local/share") / "zsh" / "site-functions"
    return folder / "_jw", f"add to ~/.zshrc, before compinit: fpath=({folder} $fpath)"


def _for_fish() -> tuple[Path, str]:
    """Return where fish looks for the completions of its user."""
    return _folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions" / "jw.fish", ""
