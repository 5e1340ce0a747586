"""Compare `screen.read` with tmux, for full-screen programs at random moments.

``python tests/torture/screens.py [MOMENTS] [SEED]`` prints for each program how many screens of how many are equal:
text, cursor, alternate screen. Programs that are not installed are left out, and named.
"""

import asyncio
import contextlib
import difflib
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.fixtures import running_agent
from tests.torture.tmux import Tmux

from jobworker.client import Client
from jobworker.errors import StdinClosed
from jobworker.model import JobSpec, TtySpec

ENV = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PS1": "$ "}


@dataclass(frozen=True)
class Program:
    """A program and what is typed into it, a key at a time."""

    argv: list[str]
    keys: list[str]

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name


UP, DOWN, RIGHT, LEFT, PAGE_DOWN, PAGE_UP = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[6~", "\x1b[5~"
# The same in the mode that full-screen programs set.
APP_UP, APP_DOWN, APP_LEFT, APP_RIGHT = "\x1bOA", "\x1bOB", "\x1bOD", "\x1bOC"
ITEMS = [word for n in range(20) for word in (str(n), f"item {n}")]
LOOP = "while :; do ps -ef; tput cup 3 3; tput setaf 2; echo $RANDOM; sleep 0.1; done"
# What is typed at prompts.
PYTHON = "import this\rfor n in range(30): print(n, '—äß漢字')\r\r"
SQL = "create table t (a);\rselect 'x' union select 'y';\r"
SHELL = "ls --color=always /etc | head -50\rclear\rseq 100\r"
PROGRAMS = [
    Program(["vim", "-n", "-u", "NONE", "-N", "/etc/services"], [*"ggGkkiabc", "\x1b", *":sp\rddpu/tcp\rn\x06\x02"]),
    Program(["less", "/etc/services"], [*"  bGg/udp\rnnN", UP, DOWN, *"dduu"]),
    Program(["htop", "-d", "3"], [APP_DOWN, APP_DOWN, "t", APP_UP, "H", "K", PAGE_DOWN, "t", "I", "P", "M"]),
    Program(["top", "-d", "0.3"], [*"1mtcVVxzbyMPT"]),
    Program(
        ["dialog", "--menu", "Which one?", "15", "50", "6", *ITEMS],
        [APP_DOWN] * 7 + [APP_UP] * 3 + ["5", PAGE_DOWN, "\t", "\t", "\t"],
    ),
    Program(["python3", "-q"], [*PYTHON, UP, UP, LEFT, LEFT, "\x01x\x7f", "\x0c"]),
    Program(["sqlite3"], [*SQL, UP, UP, *"\x05 \x7f\x7f\r"]),
    Program(["man", "bash"], [*"   b/shell\rnnGg", DOWN, UP]),
    Program(["nano", "/etc/services"], [*"\x16\x19", DOWN, *"text here\r\x0b\x15", "\x17tcp\r", UP, RIGHT]),
    Program(["mc", "-u"], [DOWN, DOWN, "\t", PAGE_DOWN, "\x1b9", RIGHT, "\x1b\x1b", "\x0f", "\x0f", *"ls /\r"]),
    Program(["bash", "--norc", "-i"], [*SHELL, UP, UP, LEFT, *"xyz\x15", "\x12ls"]),
    Program(["whiptail", "--yesno", "Do you want to go on?", "10", "40"], ["\t", "\t", APP_LEFT, APP_RIGHT, "\t"]),
    Program(["gdb", "-q", "-nx"], [*"help\r", *"info line\r", "q", UP, "\x03", *"show version\r", " "]),
    Program(["sh", "-c", LOOP], ["x"] * 10),
]
Counts = tuple[int, int]  # equal screens, of how many


async def compare(
    client: Client, tmux: Tmux, program: Program, moments: int, randomly: random.Random
) -> tuple[int, int]:
    """Type into a program, and compare its screen at as many moments; return how many were equal, and of how many."""
    rows, cols = randomly.choice([(24, 80), (24, 80), (50, 132), (12, 40)])
    spec = JobSpec(argv=program.argv, tty=TtySpec(rows, cols), env=ENV | {"TERM": "xterm-256color"}, cwd="/")
    job = (await client.start((await client.create(spec)).id)).id
    screens = []
    await asyncio.sleep(0.5)
    try:
        times = sorted(randomly.random() * len(program.keys) for _ in range(moments))
        for place, key in enumerate([*program.keys, ""]):
            while times and times[0] <= place:
                times.pop(0)
                await asyncio.sleep(randomly.random() * 0.1)
                screens.append(await client.screen(job))
            try:
                await client.write(job, key.encode())
            except StdinClosed:
                break  # the program has ended
            await asyncio.sleep(randomly.random() * 0.05)
    finally:
        log = await whole_log(client, job)
        with contextlib.suppress(Exception):
            await client.delete(job, force=True)
    equal = 0
    for screen in screens:
        judge = tmux.show(log[: screen.offset], rows, cols)
        ours = ([row.rstrip() for row in screen.text], (screen.cursor.row, screen.cursor.col), screen.alternate)
        if ours == (judge.text, judge.cursor, judge.alternate):
            equal += 1
        else:
            print(f"{program.name}: at byte {screen.offset}: {ours[1:]}; tmux has {judge.cursor, judge.alternate}")
            print(
                "\n".join([*difflib.unified_diff(judge.text, ours[0], "tmux", "screen.read", lineterm="", n=0)][:12])
            )
            Path(f"{tempfile.gettempdir()}/screen-{program.name}.out").write_bytes(log[: screen.offset])
    return equal, len(screens)


async def whole_log(client: Client, job: str) -> bytes:
    data, offset = b"", 0
    while True:
        page = await client.read(job, offset, 1 << 20)
        data += b"".join(chunk.data for chunk in page.chunks)
        if page.next >= page.end:
            return data
        offset = page.next


async def main(moments: int, seed: int) -> int:
    """Print a line for each program, and return 1 if a screen differs."""
    randomly = random.Random(seed)
    sums = [0, 0]
    with Tmux() as tmux, tempfile.TemporaryDirectory(prefix="jobworker-screens-") as home:
        ENV["HOME"] = home  # some programs write there
        async with running_agent() as agent, agent.client() as client:
            for program in PROGRAMS:
                if shutil.which(program.argv[0]) is None:
                    print(f"{program.name}: not installed")
                    continue
                equal, count = await compare(client, tmux, program, moments, randomly)
                print(f"{program.name:10} {equal} of {count}", flush=True)
                sums = [sums[0] + equal, sums[1] + count]
    print(f"equal to tmux: {sums[0]} of {sums[1]} (seed {seed})")
    return sums[0] < sums[1]


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(asyncio.run(main(*(numbers + [5, 1][len(numbers) :]))))
