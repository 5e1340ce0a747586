"""`jw agent`: run, start, stop and install the agent of this host; restart and describe any agent."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from jobworker.client.local import agent_pid, port_address, wait_gone
from jobworker.errors import JobworkerError, PermissionDenied
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.commands.backup import backup, restore
from jobworker_cli.commands.drain import drain
from jobworker_cli.commands.gc import gc
from jobworker_cli.declare import Context, Group, Option, UsageError
from jobworker_cli.endpoint import Choice, home, local_agent
from jobworker_cli.output import table

group = Group(help="Run, start, stop and install the agent of this host.")
for each in (drain, backup, restore, gc):
    group.command()(each)
NOT_RUNNING = 3  # the exit code of `systemctl status`, too
END_SECONDS = 180.0  # seconds; an agent that ends its jobs kills them after a minute


@group.command()
def run(
    ctx: Context,
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="The configuration file.")] = None,
) -> int:
    """Run the agent in the foreground. When it ends it stops its jobs; as a service it leaves them running."""
    ctx.obj.require_local(
        "jw agent run", ignore_current=True
    )  # a service starts, whichever context its user has in use
    from jobworker import preflight

    preflight.prepare()  # before the rest is imported, which takes long
    from jobworker.__main__ import main

    main(["--home", str(home().path), *(["--config", str(config)] if config else [])])
    return 0


@group.command()
@command
def start(ctx: Context, json_: options.Json = False) -> None:
    """Start the local agent in the background, and print its address."""
    ctx.obj.require_local("jw agent start")
    pid = agent_pid(home())
    if pid is not None:
        output.note(f"the agent is already running (pid {pid})")
    local_agent(start=True)
    info = _info(ctx.obj) if json_ else None
    output.show(info, [port_address(home())], as_json=json_)


@group.command()
@command
def stop(
    ctx: Context,
    jobs: Annotated[bool, Option("--jobs", help="Stop all jobs first.")] = False,
    json_: options.Json = False,
) -> None:
    """Stop the local agent. Its jobs run on, and the next agent adopts them."""
    ctx.obj.require_local("jw agent stop")
    left = _end(ctx.obj, "stop" if jobs else "leave")
    output.show(left is not None, as_json=json_)
    if left is None:
        output.note(f"no agent runs on {home().path}")
    elif jobs or not left:
        output.note("the agent has ended, and no job runs")
    else:
        output.note(f"the agent has ended; {left} {'job runs' if left == 1 else 'jobs run'} on without it")
        output.hint("jw agent start adopts them again")


def _end(choice: Choice, jobs: str) -> int | None:
    """Stop the agent and return how many jobs it had; None if no agent runs."""
    pid = agent_pid(home())
    if pid is None:
        return None
    if pid == 0:
        raise JobworkerError(
            f"the agent on {home().path} runs in another container: its process cannot be seen from here",
            hint="end that container, or run `jw agent stop` in it",
        )
    with choice.blocking(start=False) as client:
        running = int((client.call("agent.info"))["running"])
        client.call("agent.shutdown", jobs=jobs)
    # Only now: a client that waits without reading does not answer the agent's close frame, and holds it up for 5 s.
    if not wait_gone(pid, END_SECONDS):
        raise JobworkerError(f"the agent (pid {pid}) is still there after {END_SECONDS:g} s", hint=f"kill {pid}")
    return running


@group.command()
@command
def restart(ctx: Context, json_: options.Json = False) -> None:
    """Restart the agent in place, with the program and configuration of now; jobs run on. Without one, start it."""
    if not ctx.obj.local:
        info = _restart(ctx.obj)
    else:
        if agent_pid(home()) is None:
            output.note(f"no agent ran on {home().path}")
        else:
            _restart(ctx.obj)
        local_agent(start=True)
        info = _info(ctx.obj)
    output.show(info, [str(info["address"])], as_json=json_)


def _restart(choice: Choice) -> dict[str, Any]:
    """Restart an agent, and return its description once it serves again.

    It is executed in place: the process and its listening sockets stay, so a client that connects meanwhile waits.
    """
    with choice.blocking(start=False) as client:
        client.call("agent.restart")
        client.closed()
        client.connection.report = lambda text: None  # the loss was expected
        client.reconnect()
        answer: dict[str, Any] = client.call("agent.info")
        return answer


Systemd = Annotated[bool, Option("--systemd", help="As a systemd service.")]
User = Annotated[bool, Option("--user", help="For your user's service manager, not the host's.")]
Root = Annotated[
    Path | None,
    Option("--root", metavar="DIR", help="Install into the root file system of an image in this folder."),
]


@group.command()
@command
def install(
    ctx: Context,
    systemd: Systemd = False,
    user: User = False,
    config: Annotated[Path | None, Option("--config", metavar="FILE", help="The configuration file.")] = None,
    now: Annotated[bool, Option("--now/--no-start", help="Start the service now.")] = True,
    force: Annotated[bool, Option("--force", help="Replace a unit that differs.")] = False,
    root: Root = None,
) -> None:
    """Install the agent as a service that starts with the host, and print the path of its unit."""
    from jobworker_cli import service

    _require_systemd(ctx, systemd, "jw agent install")
    manager = service.Systemd(user, root)
    output.emit(str(service.install(manager, config, home(), start=now, force=force)))
    if user and root is None:
        output.hint("loginctl enable-linger starts it with the host and keeps it running after the last logout")
    output.hint("jw agent info" if now and root is None else f"{manager} start jobworker")


@group.command()
@command
def uninstall(ctx: Context, systemd: Systemd = False, user: User = False, root: Root = None) -> None:
    """Stop the service and remove its unit. Jobs run on, and the state folder stays."""
    from jobworker_cli import service

    _require_systemd(ctx, systemd, "jw agent uninstall")
    output.emit(str(service.uninstall(service.Systemd(user, root))))


def _require_systemd(ctx: Context, systemd: bool, command: str) -> None:
    ctx.obj.require_local(command, ignore_current=True)
    if not systemd:
        raise UsageError(f"{command}: no kind of service is given; expected --systemd")


@group.command()
@command
def status(ctx: Context, json_: options.Json = False) -> int:
    """Show whether the agent runs, and with how many jobs; 3 if it does not."""
    if ctx.obj.local and agent_pid(home()) is None:
        output.show({"running": False, "home": str(home().path)}, [f"no agent runs on {home().path}"], as_json=json_)
        if not json_:
            output.hint("jw agent start")
        return NOT_RUNNING
    answer = _info(ctx.obj)
    jobs = answer["running"]
    shown = {"running": True} | {name: answer.get(name) for name in ("version", "pid", "address")} | {"jobs": jobs}
    text = f"agent {answer['version']} (pid {answer['pid']}) on {answer['address']} runs {jobs} job{'s'[: jobs != 1]}"
    output.show(shown, [text], as_json=json_)
    return 0


@group.command()
@command
def health(ctx: Context, json_: options.Json = False) -> int:
    """Show whether the agent can start jobs now, for scripts and container probes: 0 if it can, else 1."""
    if ctx.obj.local and agent_pid(home()) is None:
        ready = {"agent": "does not run"}
    else:
        with ctx.obj.blocking(start=False) as client:
            ready = client.call("agent.health")["ready"]
    output.show(ready, table.pair_lines([*ready.items()]), as_json=json_)
    return 0 if all(result == "ok" for result in ready.values()) else 1


@group.command()
@command
def logs(
    ctx: Context,
    follow: Annotated[bool, Option("-f", "--follow", help="Follow the log until Ctrl-C.")] = False,
    lines: Annotated[
        int, Option("-n", "--tail", also=["--lines"], metavar="N", min=0, help="Begin with the last N lines.")
    ] = 100,
) -> None:
    """Print the log of the local agent, which it keeps if jw has started it; a service logs to its manager."""
    ctx.obj.require_local("jw agent logs")
    from jobworker_cli import agent_log

    agent_log.show(home(), lines, follow=follow)


@group.command()
@command
def info(ctx: Context, json_: options.Json = False) -> None:
    """Show version and capabilities of the agent; to admins also its start, connections, state folder and disk."""
    with ctx.obj.blocking(start=False) as client:
        answer: dict[str, Any] = client.call("agent.info")
        with suppress(PermissionDenied):
            answer["health"] = client.call("agent.health")
    output.show(answer, table.pair_lines(_flat(answer)), as_json=json_)


def _info(choice: Choice) -> dict[str, Any]:
    with choice.blocking(start=False) as client:
        answer: dict[str, Any] = client.call("agent.info")
        return answer


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            pairs += _flat(inner, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name, ", ".join(map(_name, inner)) if isinstance(inner, list) else str(inner)))
    return pairs


def _name(value: Any) -> str:
    """Return the text for one value of a list: a plugin's name."""
    return str(value["name"] if isinstance(value, dict) and "name" in value else value)
