"""Explain why a job did not start: the step that failed, the file or value, and what was expected."""

import errno
import os
import resource
import stat

from jobworker.jobs.plan import folder_of
from jobworker.jobs.record import JobRecord
from jobworker.linux.lookup import look_at_once
from jobworker.words import shown

SHEBANG_BYTES = 256  # that the kernel reads
WORD_BYTES = 131072  # of one argument or variable with its end, at most: MAX_ARG_STRLEN of Linux
STACK_SHARE = 4  # the part of the stack that all of them may take, of 6 MiB at most
BOM = b"\xef\xbb\xbf"
SHORT = {
    errno.EAGAIN: "no process is available; expected fewer processes, or a higher limit (ulimit -u, pids.max)",
    errno.ENOMEM: "no memory is available for another process",
    errno.EMFILE: "no descriptor is available; expected fewer open files, or a higher limit (ulimit -n)",
    errno.ENFILE: "the host has no descriptor available; expected fewer open files, or a higher fs.file-max",
}


def explain_start_failure(record: JobRecord, step: str, code: int, detail: str = "") -> str:
    """Return a sentence that names the step that failed, and the reason.

    `detail`: for the step `exec` the file, which has no slash if no folder of PATH had it; for `setup` the reason.
    """
    user = f" as {record.identity.name}" if record.identity is not None else ""
    what = {
        "cwd": f"cannot change to the folder {_quoted(folder_of(record.job.spec, record.identity))}{user}",
        "user": f"cannot become the user{user}",
        "exec": f"cannot execute {_quoted(record.job.spec.command()[0][:200])}{user}",
    }.get(step, "cannot set up the process")
    if code == errno.ETIMEDOUT:
        return f"{what}: it hung: a file system that does not answer, or a lease on the file"
    if step == "exec":
        return f"{what}: {_of_program(record, code, detail)}"
    if step == "setup":
        return f"{what}: {SHORT.get(code) or detail or os.strerror(code)}"
    return f"{what}: {os.strerror(code)}"


def _quoted(text: str) -> str:
    """Return a text in quotes; one with bytes that are not UTF-8 as a shell takes it."""
    return repr(text) if text == shown(text) else shown(text)


def _of_program(record: JobRecord, code: int, file: str) -> str:
    """Return why the execve of a program failed; the file is looked at if that cannot take long."""
    spec = record.job.spec
    if code == errno.E2BIG:
        return _too_long([*spec.command(), *(f"{name}={value}" for name, value in spec.variables().items())])
    if code == errno.ENOENT and "/" not in file:
        return f"{os.strerror(code)}: no folder of its PATH has one of that name"
    if code == errno.ETXTBSY:
        return "a process has the file open for writing"
    try:
        mode, mounted_noexec, first = look_at_once(
            os.path.join(folder_of(spec, record.identity), file), SHEBANG_BYTES
        )
    except (OSError, ValueError):
        return os.strerror(code)
    line = first.partition(b"\n")[0]
    interpreter = line.removeprefix(b"#!").decode(errors="replace").strip(" \t").split(" ")[0]
    shebang = interpreter if line.startswith(b"#!") else ""
    if code == errno.ENOENT:
        return _missing_interpreter(shebang, elf=first.startswith(b"\x7fELF"))
    if code == errno.ENOEXEC:
        return _unknown_format(first)
    if code == errno.EACCES and (record.identity is None or record.identity.uid == os.geteuid()):
        # Of another user nothing is revealed that this one may not see.
        return _not_executable(mode, shebang, noexec=mounted_noexec)
    return os.strerror(code)


def _missing_interpreter(shebang: str, *, elf: bool) -> str:
    if shebang.endswith("\r"):
        return (
            f"the file is there, its interpreter {shebang!r} is not: the first line ends with CR LF, as on Windows; "
            "expected LF (sed -i 's/\\r$//' FILE)"
        )
    if shebang:
        absolute = "" if shebang.startswith("/") else '; expected an absolute path, as in "#!/usr/bin/env python3"'
        return f"the file is there, its interpreter {shebang!r} is not{absolute}"
    if elf:
        return "the file is there, the loader that it names is not: it was built for another system"
    return os.strerror(errno.ENOENT)


def _unknown_format(first: bytes) -> str:
    if not first:
        return "the file is empty"
    if first.startswith(BOM):
        return "the file begins with a byte order mark; expected it to begin with #!"
    if first.startswith(b"\x7fELF"):
        return "the program was built for another kind of processor"
    return 'the file is no program; expected a first line that names its interpreter, such as "#!/bin/sh"'


def _not_executable(mode: int, shebang: str, *, noexec: bool) -> str:
    denied = os.strerror(errno.EACCES)
    if stat.S_ISDIR(mode):
        return f"{denied}: it is a folder; expected a program"
    if not mode & 0o111:
        return f"{denied}: the file is not executable; expected the mode of a program (chmod +x)"
    if noexec:
        return f"{denied}: its file system is mounted noexec"
    if shebang:
        return f"{denied}, for the file or its interpreter {shebang!r}"
    return denied


def _too_long(words: list[str]) -> str:
    """Return the sizes of arguments and environment, and what Linux takes."""
    sizes = [len(word.encode(errors="surrogateescape")) + 1 for word in words]
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    most = 6 << 20 if stack < 0 else min(6 << 20, stack // STACK_SHARE)
    return (
        f"arguments and environment have {sum(sizes)} bytes, the longest of them {max(sizes)}; expected at most "
        f"{WORD_BYTES} for each and, with 8 bytes more for each, {most} in all (a quarter of ulimit -s)"
    )
