"""The folder of one job on another host: what agent and runner write into it, each only its own files.

``docs/reference/on-disk-formats.md`` describes it. A file is written beside itself and renamed, so a reader finds it
whole or not at all; the heartbeat alone is overwritten in place, which a full disk allows as well.
"""

import json
import os
from typing import Any

VERSION = 1
LAUNCH = "launch.json"  # what to run: by the agent, before the engine is asked
CLAIM = "claim"  # made by the first runner; another one touches nothing
JOURNAL = "journal"  # of the runner, in the format of the keeper's
LOGS = "logs"  # has a folder with the log of the job
HEARTBEAT = "heartbeat"
RUNNER_LOG = "runner.log"  # what the runner, or the engine's script, prints: an executor puts it here if it can
CONTROL, ANSWERS = "control", "answers"  # numbered commands of the agent, and the answers of the runner
SUFFIX = ".json"
CLAIMED = 97  # the exit code of a runner that found a claim
UNUSABLE = 98  # the exit code of a runner that found no usable folder, and made no claim
HEARTBEAT_SECONDS = 2.0  # between two heartbeats
HEARTBEAT_BYTES = 1024  # of the file, filled with spaces: written at once, and at the same place

Fields = dict[str, Any]


def write_launch(folder: str, launch: Fields, *, owner: tuple[int, int] | None = None) -> None:
    """Write what to run, perhaps for a user (uid, gid) that is not ours; raise OSError."""
    _replace(f"{folder}/{LAUNCH}", encode({"v": VERSION, **launch}), owner)


def read_launch(folder: str) -> Fields:
    """Return what to run; raise OSError, or ValueError if it is not what this version understands."""
    launch = decode(_read(f"{folder}/{LAUNCH}"))
    if launch.get("v") != VERSION:
        raise ValueError(f"{folder}/{LAUNCH}: version {launch.get('v')!r}, expected {VERSION}")
    missing = [name for name in ("tag", "id", "message") if name not in launch]
    if missing:
        raise ValueError(f"{folder}/{LAUNCH}: lacks {', '.join(missing)}")
    return launch


def write_claim(folder: str, claim: Fields) -> None:
    """Claim the job; raise FileExistsError if a runner has done so before, OSError if none can."""
    fd = os.open(f"{folder}/{CLAIM}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, encode(claim))
    except OSError:
        pass  # a full disk: the file is there, and that is the claim
    finally:
        os.close(fd)


def read_claim(folder: str) -> Fields | None:
    """Return who runs the job: `tag`, `node`, `pid`, `boot`, those that are known; None if no runner has begun."""
    try:
        return decode(_read(f"{folder}/{CLAIM}"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}  # it is not written yet, or there was no room


def write_command(folder: str, number: int, command: Fields, *, owner: tuple[int, int] | None = None) -> None:
    """Give the runner a command. Numbers begin with 1, and each is carried out once. Raise OSError."""
    _replace(f"{folder}/{CONTROL}/{number}{SUFFIX}", encode(command), owner)


def command_numbers(folder: str) -> list[int]:
    """Return the numbers of all commands in their order; raise OSError."""
    return _numbers(f"{folder}/{CONTROL}")


def read_command(folder: str, number: int) -> Fields:
    """Return a command; raise OSError, or ValueError if it is no JSON object."""
    return decode(_read(f"{folder}/{CONTROL}/{number}{SUFFIX}"))


def write_answer(folder: str, number: int, answer: Fields) -> None:
    """Answer a command; raise OSError."""
    _replace(f"{folder}/{ANSWERS}/{number}{SUFFIX}", encode(answer), None)


def answer_numbers(folder: str) -> list[int]:
    """Return the numbers of the commands that were answered; raise OSError."""
    return _numbers(f"{folder}/{ANSWERS}")


def read_answer(folder: str, number: int) -> Fields | None:
    """Return the answer to a command; None if there is none yet. Raise OSError."""
    try:
        return decode(_read(f"{folder}/{ANSWERS}/{number}{SUFFIX}"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def encode_heartbeat(count: int, usage: Fields) -> bytes:
    """Return what the file is overwritten with."""
    data = encode({"n": count, "usage": usage})
    if len(data) >= HEARTBEAT_BYTES:
        data = encode({"n": count, "usage": {}})
    return data.ljust(HEARTBEAT_BYTES - 1) + b"\n"


def read_heartbeat(folder: str) -> Fields | None:
    """Return `n`, which changes while the runner lives, and `usage`; None if there is none, or not a whole one."""
    try:
        return decode(_read(f"{folder}/{HEARTBEAT}"))
    except (FileNotFoundError, ValueError):
        return None


def encode(fields: Fields) -> bytes:
    """Return JSON; a path that is not UTF-8 keeps its bytes."""
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(data: bytes) -> Fields:
    """Return a JSON object; raise ValueError."""
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("expected a JSON object")
    return fields


def _numbers(folder: str) -> list[int]:
    """Return the numbers of the files; none if there is no folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read()


def _replace(path: str, data: bytes, owner: tuple[int, int] | None) -> None:
    """Write a file of mode 0600 whole or not at all; raise OSError."""
    above, name = os.path.split(path)
    draft = f"{above}/.{name}.{os.getpid()}"  # no number, so that no reader takes it for one
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            if owner is not None:
                os.fchown(fd, *owner)
            file.write(data)
        os.rename(draft, path)
    except OSError:
        os.unlink(draft)
        raise
