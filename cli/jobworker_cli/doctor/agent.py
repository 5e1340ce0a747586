"""What an agent reports: its caller, clock, certificate, capabilities, plugins, versions and budgets."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from jobworker import __version__
from jobworker.client.blocking import Client
from jobworker.errors import JobworkerError, MethodNotFound, PermissionDenied
from jobworker_cli.doctor import budgets
from jobworker_cli.doctor.finding import NOTE, OK, WRONG, Finding, certificate

CLOCK_NOTE_SECONDS, CLOCK_WRONG_SECONDS = 2.0, 60.0  # beyond what the way to the agent and back took


def examine(client: Client, jw: str, *, tls: bool) -> Iterator[Finding]:
    """Yield what a connected agent reports; `jw` is how `jw` is called for it."""
    caller = client.call("auth.whoami")
    roles = ", ".join(caller["roles"]) or "no role"
    yield Finding("connection", OK, f"the agent knows this caller as {caller['name']} ({roles})")
    yield _clock(client)
    info: dict[str, Any] = client.call("agent.info")
    if "version" not in info:
        hint = "an admin gives it a role: jw token create NAME --role writer"
        yield Finding("rights", WRONG, "this caller may neither see nor create jobs", hint)
        return
    if since := info.get("draining"):
        text = f"draining since {since}: no job is created or started"
        yield Finding("starts", NOTE, text, f"{jw} agent drain --off")
    health = _health(client, jw)
    yield from _versions(info, health, jw)
    if tls:
        left = int(info["tls"]["days_left"])
        yield certificate("certificate", "the certificate of the agent", left, "jw cert renew, on the agent's host")
    yield from _capabilities(info["capabilities"])
    yield from _plugins(info["plugins"], jw)
    if isinstance(health, Finding):
        yield health
    else:
        yield from budgets.examine(health)


def _clock(client: Client) -> Finding:
    """Compare the clocks, by the middle of a call that the agent answers at once."""
    client.call("agent.ping")  # what the first call needs besides is no part of the measure
    before, begin = time.time(), time.monotonic()
    theirs = datetime.fromisoformat(client.call("agent.ping")["time"]).timestamp()
    trip = time.monotonic() - begin
    difference = theirs - (before + trip / 2)
    beyond = max(abs(difference) - trip / 2, 0.0)
    text = f"the agent's clock is {abs(difference):.3g} s {'ahead of' if difference > 0 else 'behind'} this host's"
    if beyond < CLOCK_NOTE_SECONDS:
        return Finding("clock", OK, f"the clocks differ by less than {max(abs(difference), trip, 0.001):.2g} s")
    state = WRONG if beyond > CLOCK_WRONG_SECONDS else NOTE
    return Finding("clock", state, text, "timedatectl, on both hosts: which one has the wrong time?")


def _health(client: Client, jw: str) -> dict[str, Any] | Finding:
    """Return `agent.health`, or why there is none."""
    try:
        return dict(client.call("agent.health"))
    except PermissionDenied:
        hint = "log in as an admin, or ask one for `jw doctor`"
        return Finding("budgets", NOTE, "only admins see disk, descriptors and budgets of the agent", hint)
    except MethodNotFound:
        hint = f"update jobworker on the agent's host, then {jw} agent restart"
        return Finding("budgets", NOTE, "this version of the agent does not report its disk and budgets", hint)
    except JobworkerError as error:
        return Finding("budgets", WRONG, error.message, error.hint)


def _versions(info: Mapping[str, Any], health: dict[str, Any] | Finding, jw: str) -> Iterator[Finding]:
    """Compare the versions of jw, agent and keeper."""
    text = f"{info['version']}, pid {info['pid']}, {info['running']} running jobs, {info['durability']} durability"
    if info["version"] == __version__:
        yield Finding("agent", OK, text)
    else:
        hint = f"install the same version on both hosts, then {jw} agent restart"
        yield Finding("agent", NOTE, f"{text}; this jw is {__version__}", hint)
    keeper = info["keeper"]
    if not keeper["pid"]:
        yield Finding("keeper", WRONG, "no keeper is connected", f"{jw} agent restart; the log of the agent has why")
    elif isinstance(health, dict) and not health["keeper_current"]:
        text = f"pid {keeper['pid']}: it runs another program than the one that is installed"
        yield Finding("keeper", NOTE, text, f"{jw} agent restart upgrades it; jobs run on")
    else:
        yield Finding("keeper", OK, f"pid {keeper['pid']}, pump {keeper['pump'] or 'not needed yet'}")


def _capabilities(capabilities: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what jobs can have on this host, and what they cannot, with the reason."""
    missing = dict(capabilities.get("missing", {}))
    reason = missing.pop("cgroup", "")
    if capabilities["stop"] == "cgroup":
        yield Finding("cgroup", OK, "each job has a cgroup: a stop reaches every process")
    else:
        text = f"jobs have no cgroup, a stop searches for their processes: {reason or 'the reason is not known'}"
        yield Finding("cgroup", NOTE, text, "run the agent as a service, or in a cgroup of its own with Delegate=yes")
    if limits := capabilities.get("limits"):
        yield Finding("limits", OK, f"jobs can have limits of {', '.join(limits)}")
    given = [name for name in ("namespace", "private_tmp", "sandbox", "terminal", "stdin") if capabilities.get(name)]
    yield Finding("capabilities", OK, f"jobs can have {', '.join(given) or 'none of the optional features'}")
    for name, why in missing.items():
        yield Finding(name, NOTE, why, "" if ";" in why else "see the capabilities in docs/reference/rpc.md")
    if capabilities.get("users") == "agent":
        hint = "run the agent as root for jobs of other users: docs/how-to/run-as-another-user.md"
        yield Finding("users", NOTE, "all jobs run as the user of the agent", hint)
    if capabilities.get("notify") == "poll":
        hint = "sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288, then jw agent restart"
        yield Finding(
            "inotify", WRONG, "the kernel has no watch left: the agent polls the logs, which costs CPU", hint
        )
    if capabilities.get("log") == "copy":
        hint = "put the state folder on a local file system, as ext4 or xfs"
        yield Finding("log", NOTE, "splice is refused there: a killed pump may lose up to 64 KiB", hint)
    if capabilities.get("log_bound") == "refuse":
        hint = "put the state folder on a file system with FALLOC_FL_PUNCH_HOLE, as ext4, xfs, btrfs or tmpfs"
        yield Finding("log", NOTE, "the file system cannot punch holes: a log that is full takes nothing more", hint)


def _plugins(plugins: list[dict[str, Any]], jw: str) -> Iterator[Finding]:
    """Yield the plugins that the agent has given up, or that failed."""
    good = []
    for plugin in plugins:
        name = plugin["name"]
        hint = (
            f"the log of the agent has why; {jw} agent restart tries it again, jw plugins disable {name} on its host"
        )
        if plugin.get("blocked") or plugin.get("dropped"):
            what = "is blocked: a call into it has not returned" if plugin.get("blocked") else "was dropped"
            yield Finding("plugin", WRONG, f"{name} {what}", hint)
        elif plugin.get("faults"):
            yield Finding("plugin", NOTE, f"{name} has failed {plugin['faults']} times", hint)
        else:
            good.append(name)
    yield Finding("plugins", OK, ", ".join(good) or "none")
