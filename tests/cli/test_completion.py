"""Completion in real shells: what is typed, then Tab, and what the shell has made of it."""

import fcntl
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import DEADLINE

from jobworker.paths import Home, contexts_file

if TYPE_CHECKING:
    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent

PLAIN = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
BEGIN = {
    "bash": 'eval "$(jw completion bash)"',
    "zsh": 'bindkey -e; autoload -Uz compinit; compinit -u -D; eval "$(jw completion zsh)"',
    "fish": "jw completion fish | source",
}
# What is typed before Tab, and the words that the line then has.
CASES = {
    "jw sto": ["jw", "stop"],
    "jw stop doc-w": ["jw", "stop", "doc-web"],
    "jw -c doc-pr": ["jw", "-c", "doc-prod"],
    "jw logs --foll": ["jw", "logs", "--follow"],
    "jw context renam": ["jw", "context", "rename"],
    "jw delete --context doc-prod doc-w": ["jw", "delete", "--context", "doc-prod", "doc-web"],
    "jw run --on-full dr": ["jw", "run", "--on-full", "drop"],
    "jw create --label doc-app=fro": ["jw", "create", "--label", "doc-app=front"],
    "jw --ca FOLDER/only-th": ["jw", "--ca", "FOLDER/only-this.pem"],
    "jw run -d ls FOLDER/only-th": ["jw", "run", "-d", "ls", "FOLDER/only-this.pem"],
    "jw stop nothing-lik": ["jw", "stop", "nothing-lik"],
}


class Terminal:
    """A shell that is typed into."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 300, 0, 0))
        env = {"HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}", "TERM": "dumb", "LANG": "C.UTF-8"}
        env["JOBWORKER_HOME"] = os.environ["JOBWORKER_HOME"]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env
        )
        os.close(slave)
        self.shown = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self._news:
                self.shown += data.decode(errors="replace")
                self._news.notify_all()

    def wait_for(self, pattern: str) -> "re.Match[str]":
        with self._news:
            self._news.wait_for(lambda: re.search(pattern, self.shown), DEADLINE)
            found = re.search(pattern, self.shown)
            assert found, self.shown[-2000:]
            self.shown = self.shown[found.end() :]
            return found

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def run(self, line: str) -> None:
        """Run a line to its end."""
        self.type(f"{line}; echo '<do''ne>'\r")
        self.wait_for("<done>")

    def completed(self, text: str) -> list[str]:
        """Return the words of the line after Tab: at its begin, after Ctrl-A, comes a command that shows them."""
        self.type(f"{text}\t\x01printf '<%s>' be''gin \x05 en''d\r")
        found = self.wait_for("<begin>((?:<[^<>]*>)*)<end>")
        return re.findall("<(.*?)>", found[1])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE)
        os.close(self.master)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The home of a user with `jw` in its PATH."""
    program = tmp_path / "bin" / "jw"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobworker_cli "$@"\n')
    program.chmod(0o700)
    (tmp_path / "only-this.pem").touch()
    return tmp_path


@pytest.fixture
def known(jw: "Jw", shared: "RunningAgent") -> Iterator[None]:
    """A job with a name and a label, and a context."""
    jw.out("run", "-d", "--name", "doc-web", "--label", "doc-app=front", "--", "sleep", "600")
    context = {"address": shared.address, "ca": str(shared.ca), "token": shared.token}
    contexts_file().write_text(json.dumps({"version": 1, "contexts": {"doc-prod": context}}))
    contexts_file().chmod(0o600)
    yield
    contexts_file().unlink()
    jw.kill("doc-web")


def require(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("shell", PLAIN)
def test_tab(shell: str, folder: Path) -> None:
    require(shell)
    terminal = Terminal(PLAIN[shell], folder)
    try:
        terminal.run(BEGIN[shell])
        made = {text: terminal.completed(text.replace("FOLDER", str(folder))) for text in CASES}
    finally:
        terminal.close()
    assert made == {text: [word.replace("FOLDER", str(folder)) for word in words] for text, words in CASES.items()}


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("shell", PLAIN)
def test_an_installed_script_is_found(shell: str, jw: "Jw", folder: Path) -> None:
    """By a new shell of the user, which reads nothing of ours at its start."""
    require(shell)
    command, begin = [*PLAIN[shell]], ":"
    if shell == "bash":
        begin = ". /usr/share/bash-completion/bash_completion"
        if not Path(begin[2:]).exists():
            pytest.skip("bash-completion is not installed here")
    elif shell == "zsh":
        (folder / "functions").mkdir()
        (folder / ".zshrc").write_text(f"fpath=({folder}/functions $fpath)\nautoload -Uz compinit; compinit -u -D\n")
        command, begin = ["zsh", "-i"], "bindkey -e"
    else:
        command = ["fish", "--interactive"]
        # Otherwise it reads all manual pages of the host at its first start, which takes many seconds.
        (folder / ".local/share/fish/generated_completions").mkdir(parents=True)
    done = jw("completion", "install", SHELL=f"/bin/{shell}", HOME=str(folder), XDG_DATA_HOME="", XDG_CONFIG_HOME="")
    assert (done.returncode, done.stdout.startswith(f"{folder}/")) == (0, True), done
    terminal = Terminal(command, folder)
    try:
        terminal.run(begin)
        assert terminal.completed("jw stop doc-w") == ["jw", "stop", "doc-web"]
    finally:
        terminal.close()


def test_a_shell_that_is_none(jw: "Jw") -> None:
    done = jw("completion", "install", "csh")
    assert (done.returncode, "expected one of bash, zsh, fish" in done.stderr) == (2, True)
    done = jw("completion", "install", SHELL="")
    assert (done.returncode, "$SHELL names none" in done.stderr) == (2, True)


def test_without_an_agent(jw: "Jw", home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is offered, nothing is reported, and no agent is started; rubbish is answered by nothing."""
    monkeypatch.setenv("JOBWORKER_HOME", str(home.path))
    for line, answer in {"jw stop ": "values\n", "jw -c nix stop ": "values\n", "jw st' \"": "values\n"}.items():
        done = jw("__complete", "bash", line, "=:")
        assert (done.returncode, done.stdout, done.stderr) == (0, answer, ""), line
    for words in ([], ["bash"], ["bash", "\udcff"]):
        assert jw("__complete", *words).returncode == 0
        assert jw("__complete", *words).stderr == ""
    assert not home.path.exists()


def test_an_agent_that_does_not_answer(tmp_path: Path) -> None:
    """It is not waited for as long as other commands wait for it: here they would for ever."""
    patient = "from jobworker.client import handshake; handshake.OPEN_SECONDS = 1e6\n"
    patient += "from jobworker_cli.app import main; main()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"wss://127.0.0.1:{server.getsockname()[1]}/rpc"
        words = ["__complete", "bash", f"jw --address {address} stop ", "="]
        done = subprocess.run(
            [sys.executable, "-c", patient, *words], capture_output=True, text=True, check=False, timeout=DEADLINE
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "values\n", "")


def test_names_that_a_shell_would_take_for_more(jw: "Jw", shared: "RunningAgent") -> None:
    """They come quoted, and those that would command a terminal do not come at all."""
    from jobworker_cli import completion

    assert completion._quoted("a b$(c)") == r"a\ b\$\(c\)"
    job = jw.out("create", "--name", "doc two; rm $HOME", "--", "true")
    done = jw("__complete", "bash", "jw start doc\\ t", "=:")
    assert done.stdout == "values\n" + r"doc\ two\;\ rm\ \$HOME " + "\n"
    assert jw("rm", job).returncode == 0


@pytest.mark.parametrize(
    "words", [[], ["run", ""], ["stop", "a", ""], ["context", "use", ""], ["agent", "run", "--"]]
)
def test_what_completion_imports(jw: "Jw", words: list[str]) -> None:
    """Neither typer nor asyncio, so that a prompt comes back at once."""
    script = "import sys; from jobworker_cli import completion; completion.main(sys.argv[1:]); "
    script += "print(sorted({'typer', 'click', 'asyncio', 'pluggy'} & set(sys.modules)))"
    command = [sys.executable, "-c", script, "fish", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "")
