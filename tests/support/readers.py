"""Programs that wait for the input of their job, and programs that only look so, by pipe and by terminal."""

import sys

PYTHON = sys.executable


def python(code: str) -> str:
    """Return a shell command that executes the code."""
    return f"exec {PYTHON} -c '{code}'"


_SOCKETS = "import os, select, socket, threading, time; a, b = socket.socketpair()\n"
_LOOP = "import selectors, time; s = selectors.{kind}Selector(); s.register(0, 1)\nwhile not s.select(0.05): pass"

# By a name: whether it has a terminal, and what the shell executes. Each blocks until there is input.
WAITING: dict[str, tuple[bool, str]] = {
    "sh read": (False, "read x"),
    "sh read after output": (False, "echo one; printf 'Name? '; read x"),
    "sh read in a loop": (False, "while read x; do :; done"),
    "a shell of commands": (False, "exec sh"),
    "bash read -t": (False, "bash -c 'read -t 1000 x'"),
    "cat": (False, "exec cat"),
    "cat of /dev/stdin": (False, "exec cat /dev/stdin"),
    "dd": (False, "exec dd of=/dev/null"),
    "head": (False, "exec head -c 10"),
    "wc": (False, "exec wc -l"),
    "sort": (False, "exec sort"),
    "tee": (False, "exec tee /dev/null"),
    "awk": (False, "exec awk '{print $1}'"),
    "sed": (False, "exec sed -n 1p"),
    "xargs": (False, "exec xargs echo"),
    "md5sum": (False, "exec md5sum"),
    "tar": (False, "exec tar x -C /"),
    "gzip": (False, "exec gzip -dc"),
    "perl": (False, "exec perl -e '$_ = <STDIN>'"),
    "python input": (False, python('input("Sure? ")')),
    "python -i": (False, f"exec {PYTHON} -q -i 2>/dev/null"),
    "python readv": (False, python("import os; os.readv(0, [bytearray(9)])")),
    "python splice": (False, python("import os; os.splice(0, os.pipe()[1], 99)")),
    "python select": (False, python("import select; select.select([0], [], [])")),
    "python poll": (False, python("import select; p = select.poll(); p.register(0, 1); p.poll()")),
    "python epoll": (False, python("import select; p = select.epoll(); p.register(0, 1); p.poll()")),
    "a loop of select": (False, python(_LOOP.format(kind="Select"))),
    "a loop of poll": (False, python(_LOOP.format(kind="Poll"))),
    "a loop of epoll": (False, python(_LOOP.format(kind="Epoll"))),
    "asyncio": (
        False,
        python("import asyncio, sys; l = asyncio.new_event_loop(); l.add_reader(0, l.stop); l.run_forever()"),
    ),
    "select of many": (
        False,
        python(_SOCKETS + "c = [socket.socket() for _ in range(99)]; d = os.dup(0); select.select([a, d], [], [])"),
    ),
    "a thread": (False, python("import sys, threading; threading.Thread(target=sys.stdin.read).start()")),
    "a thread, the first one has ended": (
        False,
        python(
            "import ctypes, sys, threading; threading.Thread(target=sys.stdin.read).start()\n"
            "ctypes.CDLL(None).pthread_exit(None)"
        ),
    ),
    "a child of a child": (False, "sh -c 'sh -c \"cat; true\"; true'; true"),
    "the head of a pipeline": (False, "cat | sort | tail -n 1"),
    "a sleeping sibling": (False, "sleep 1000 & cat"),
    "in a session of its own": (False, "setsid -w cat"),
    "terminal: read -p": (True, "bash -c 'read -p \"Sure? \" x'"),
    "terminal: bash": (True, "exec bash --norc -i"),
    "terminal: cat of /dev/tty": (True, "exec cat /dev/tty </dev/null"),
    "terminal: getpass": (True, python("import getpass; getpass.getpass()")),
    "terminal: less": (True, "seq 1000 | exec less"),
    "terminal: raw": (True, python("import tty, os; tty.setraw(0); os.read(0, 1)")),
    "terminal: python": (True, f"exec {PYTHON} -q"),
    "terminal: select": (True, python("import select; select.select([0], [], [])")),
    "terminal: epoll": (True, python("import select; p = select.epoll(); p.register(0, 1); p.poll()")),
}

# The same of programs that do not wait for their input, though they are silent and may have it open.
ONLY_SO: dict[str, tuple[bool, str]] = {
    "sleep": (False, "exec sleep 1000"),
    "sh that sleeps": (False, "sleep 1000; read x"),
    "sleep in a loop": (False, "while :; do sleep 0.05; done"),
    "a busy loop": (False, "while :; do :; done"),
    "a busy python": (False, python("while True: pass")),
    "python sleep": (False, python("import time; time.sleep(1000)")),
    "a futex": (False, python("import threading; threading.Event().wait()")),
    "a futex with a clock": (False, python("import threading; threading.Event().wait(1000)")),
    "a signal": (False, python("import signal; signal.pause()")),
    "sigwait": (False, python("import signal; signal.sigwait([signal.SIGUSR1])")),
    "a child that sleeps": (False, "sleep 1000 & wait"),
    "a child that works": (False, f"{PYTHON} -c 'while True: pass'; read x"),
    "a reader that has a busy sibling": (False, f"{PYTHON} -c 'while True: pass' & cat"),
    "a reader that has a busy thread": (
        False,
        python("import sys, threading; threading.Thread(target=sys.stdin.read).start()\nwhile True: pass"),
    ),
    "a pipe of its own": (False, python("import os; r, w = os.pipe(); os.read(r, 1)")),
    "a socket": (False, python(_SOCKETS + "a.recv(1)")),
    "select of a socket": (False, python(_SOCKETS + "select.select([a], [], [])")),
    "poll of a socket": (False, python(_SOCKETS + "p = select.poll(); p.register(a, 1); p.poll()")),
    "epoll of a socket": (False, python(_SOCKETS + "p = select.epoll(); p.register(a, 1); p.poll()")),
    "poll of nothing": (False, python("import select; select.poll().poll(1000000)")),
    "poll of an input for errors": (False, python("import select; p = select.poll(); p.register(0, 0); p.poll()")),
    "select without an input": (False, python("import select; select.select([], [], [], 1000)")),
    "accept": (False, python('import socket; s = socket.create_server(("127.0.0.1", 0)); s.accept()')),
    "a network that is silent": (
        False,
        python(
            'import socket; s = socket.create_server(("127.0.0.1", 0))\n'
            "c = socket.create_connection(s.getsockname()); c.recv(1)"
        ),
    ),
    "asyncio": (False, python("import asyncio; asyncio.run(asyncio.sleep(1000))")),
    "another FIFO": (False, "mkfifo f; read x < f"),
    "a lock": (False, "exec 9<>lock; flock 9; sh -c 'exec 8<>lock; flock 8'"),
    "/dev/null": (False, "sleep 1000 </dev/null | cat"),
    "the end of a pipeline": (False, "sleep 1000 | cat"),
    "inotify": (
        False,
        python(
            'import ctypes, os; l = ctypes.CDLL(None); f = l.inotify_init(); l.inotify_add_watch(f, b"/", 2)\n'
            "os.read(f, 99)"
        ),
    ),
    "an eventfd": (False, python("import os; os.read(os.eventfd(0), 8)")),
    "a full pipe": (False, python("import os; r, w = os.pipe(); os.write(w, bytes(1 << 20))")),
    "stopped": (False, "kill -STOP $$; read x"),
    "a reader that is stopped": (False, "cat & read y & sh -c 'sleep 0.2; kill -STOP 0'"),
    "closed": (False, "exec <&-; sleep 1000"),
    "a poll of a pidfd": (
        False,
        python("import os, select; p = select.poll(); p.register(os.pidfd_open(1), 1); p.poll()"),
    ),
    "terminal: sleep": (True, "exec sleep 1000"),
    "terminal: a busy loop": (True, "while :; do :; done"),
    "terminal: another terminal": (True, python("import os, pty; m, s = pty.openpty(); os.read(s, 1)")),
    "terminal: the master of another": (True, python("import os, pty; m, s = pty.openpty(); os.read(m, 1)")),
    "terminal: a child on another": (
        True,
        python("import os, pty; pid, fd = pty.fork()\nif not pid: input()\nos.waitpid(pid, 0)"),
    ),
    "terminal: a reader in the background": (True, "bash -mc 'cat & sleep 1000'"),
    "terminal: sleep with /dev/tty open": (True, "exec sleep 1000 3</dev/tty"),
}
