"""Make the spec of a job from the options of `run` and `create`: as plain data: its types are slow to import."""

import base64
import json
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

from jobworker_cli.declare import UsageError
from jobworker_cli.env import environment
from jobworker_cli.pairs import pairs
from jobworker_cli.secrets import secrets

MANY_BYTES = 256 * 1024  # of words: they could exceed the limit of a message if each byte took six in JSON
CONTROLS = bytes(range(32))  # of which JSON has six bytes for most
TERM = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"  # what the agent takes as the type of a terminal
Plain = dict[str, Any]


def from_options(options: Plain, *, local: bool) -> Plain:
    """Return the spec; raise UsageError. With the local agent a job runs in the folder of `jw`."""
    words: list[str] = options["command"]
    user, _, group = (options["user"] or "").partition(":")
    folder = _folder(options["cwd"], local=local)
    variables = environment(options["env_file"], options["env"])
    _require_text(variables)
    spec = {
        "argv": None if options["shell"] else _texts(words),
        "shell": wire_text(" ".join(words)) if options["shell"] else None,
        "name": options["name"],
        "env": dict(zip(variables, _texts([*variables.values()]), strict=True)),
        "secrets": secrets("--secret", options["secret"]),
        "secret_files": secrets("--secret-file", options["secret_file"]),
        "cwd": None if folder is None else wire_text(folder),
        "user": user or None,
        "group": group or None,
        "umask": options["umask"],
        "nice": options["nice"],
        "rlimits": {name: _rlimit(value) for name, value in pairs("--rlimit", options["rlimit"]).items()},
        "stdin": "pipe" if options["stdin"] else None,
        "tty": _terminal() if options["tty"] else None,
        "idle_timeout": duration(options["idle_timeout"]),
        "timeout_policies": [_policy(text) for text in options["timeout_policy"] or []],
        "stop": stop_spec(
            options["stop_strategy"],
            options["stop_signal"],
            options["grace"],
            values("--stop-option", options["stop_option"]),
        ),
        "labels": pairs("--label", options["label"]),
        "private_tmp": options["private_tmp"],
        "pid_namespace": options["pid_namespace"],
        "limits": _given(
            cpus=options["cpus"],
            memory=_number(options["memory"]),
            pids=options["pids"],
            io_read=_rate("--io-read", options["io_read"]),
            io_write=_rate("--io-write", options["io_write"]),
        ),
        "sandbox": _sandbox(options),
        "executor": _executor(options),
        "log": _given(
            on_full=options["on_full"],
            max_bytes=_number(options["log_max"]),
            keep=options["log_keep"],
            on_bound=options["on_bound"],
        ),
    }
    timeout = {} if options["timeout"] is None else {"timeout": _limit(options["timeout"])}  # null: none at all
    return _given(**spec) | timeout


def _given(**values: Any) -> Plain:
    """Return those that are given: not None, nor empty."""
    return {name: value for name, value in values.items() if value is not None and value not in ({}, [])}


def wire_text(value: str, *, dense: bool = False) -> str | dict[str, str]:
    """Return an argument, a value of a variable or a path as a spec has it: see `text_of` of `jobworker.text`.

    With `dense`, in base64 too if JSON has many escapes for it.
    """
    data = value.encode(errors="surrogateescape")
    escaped = len(data) - len(data.translate(None, CONTROLS)) if dense else 0
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or escaped * 5 > len(data) // 3:
        return {"base64": base64.b64encode(data).decode()}
    return text


def _texts(words: list[str]) -> list[str | dict[str, str]]:
    """Return words as a spec has them; very many in the shorter of both ways, to be within the limit of a message."""
    dense = sum(map(len, words)) > MANY_BYTES
    return [wire_text(word, dense=dense) for word in words]


def _sandbox(options: Plain) -> Plain:
    if not (options["no_network"] or options["no_userns"] or options["write"]):
        return {}
    write = {"write": options["write"]} if options["write"] else {}
    return {"network": not options["no_network"], "userns": not options["no_userns"]} | write


def _executor(options: Plain) -> Plain:
    given = values("--executor-option", options["executor_option"])
    if given and options["executor"] is None:
        raise UsageError("--executor-option: is for an executor; expected --executor NAME too")
    return _given(name=options["executor"], options=given)


def changes(options: Plain) -> Plain:
    """Return the params of job.update; raise UsageError if there is nothing to change."""
    times = ("timeout", "idle_timeout")
    update: Plain = {name: _limit(options[name]) for name in times if options[name] is not None}
    if options["label"]:
        update["labels"] = pairs("--label", options["label"])
    if limits := _limits(options):
        update["limits"] = limits
    if not update:
        names = "--timeout, --idle-timeout, --memory, --cpus, --pids, --io-read, --io-write or --label"
        raise UsageError(f"nothing to change; expected {names}")
    return update | ({"force": True} if options["force"] else {})


def _limits(options: Plain) -> Plain:
    """Return the limits to change; None removes one."""
    limits: Plain = {}
    for name, read in (("memory", _number), ("cpus", _cpus), ("pids", _pids)):
        if options[name] is not None:
            limits[name] = None if options[name] == "none" else read(options[name])
    for name, option in (("io_read", "--io-read"), ("io_write", "--io-write")):
        if options[name]:
            limits[name] = None if list(options[name]) == ["none"] else _rate(option, options[name])
    return limits


def _cpus(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'--cpus: {text!r}; expected a number or "none"') from None


def _pids(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f'--pids: {text!r}; expected a number or "none"')
    return int(text)


def _rate(option: str, texts: list[str] | None) -> int | str | Plain | None:
    """Return bytes a second, one number or one by device; raise UsageError if both are given."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return _number(texts[0])
    if any("=" not in text for text in texts):
        raise UsageError(f"{option}: {', '.join(texts)}; expected one SIZE, or MAJ:MIN=SIZE for each disk")
    return {device: _number(value) or value for device, value in pairs(option, texts).items()}


def _limit(text: str) -> float | str | None:
    return None if text == "none" else duration(text)


def _terminal() -> Plain:
    """Return a terminal as ours is, as far as `jw` has one."""
    from jobworker_cli.own_terminal import size  # seldom needed

    rows, cols = size()
    term = os.environ.get("TERM", "")
    size_ = {"rows": rows, "cols": cols}
    return size_ | {"term": term} if re.fullmatch(TERM, term, re.ASCII) else size_


def stop_spec(strategy: str | None, signal: str | None, grace: str | None, options: Plain) -> Plain:
    return _given(strategy=strategy, signal=signal, grace=duration(grace), options=options)


def _policy(text: str) -> Plain:
    """Return a policy and its options, as `deadline at=2030-01-31T12:00:00Z`; raise UsageError."""
    try:
        name, *options = shlex.split(text)
    except ValueError:
        raise UsageError(f"--timeout-policy: {text!r}; expected 'POLICY K=V K=V'") from None
    return {"policy": name, "options": values("--timeout-policy", options)}


def duration(text: str | None) -> float | str | None:
    """Return seconds as a number, or the text unchanged: the agent checks it."""
    number = text is not None and re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII)
    return float(text) if text is not None and number else text


def values(option: str, texts: list[str] | None) -> Plain:
    """Return the pairs of `K=V` options, V read as JSON, else as text; raise UsageError."""
    result: Plain = {}
    for name, value in pairs(option, texts).items():
        try:
            result[name] = json.loads(value, parse_constant=refuse_constant)
        except ValueError:
            result[name] = value
        except RecursionError:
            raise UsageError(f"{option}: {name}: nested too deep") from None
    return result


def refuse_constant(text: str) -> Any:
    """Raise ValueError for NaN and Infinity, which are no JSON."""
    raise ValueError(text)


def _rlimit(text: str) -> Any:
    """Return a limit, or soft and hard of SOFT:HARD; the agent checks it."""
    soft, colon, hard = text.partition(":")
    return {"soft": _number(soft), "hard": _number(hard)} if colon else _number(text)


def _number(text: str | None) -> int | str | None:
    """Return a number, or the text unchanged: the agent checks it."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def _folder(folder: str | None, *, local: bool) -> str | None:
    if not local or (folder is not None and os.path.isabs(folder)):
        return folder
    try:
        here = os.getcwd()
    except FileNotFoundError:
        named = os.environ.get("PWD", "")
        raise UsageError(
            f"the current folder{f' {named}' if named else ''} was removed; expected --cwd with an absolute path"
        ) from None
    return os.path.join(here, folder) if folder else here


def _require_text(words: Iterable[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word!r} is not UTF-8; expected UTF-8, which is all that JSON carries") from None
