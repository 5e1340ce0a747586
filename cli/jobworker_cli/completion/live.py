"""Ask the agent for what may be completed: jobs, labels, tokens, sessions, plugins; and read the contexts.

An agent that does not answer in time, and one that does not run, has nothing to complete: none is started.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobworker_cli import LOCAL_CONTEXT

ANSWER_SECONDS = 1.0  # for all that is asked for one line: the user waits for the prompt
MAX_JOBS = 500  # the newest that are offered
Values = list[tuple[str, str]]  # each with its help
LIVE = ("queued", "running", "paused", "stopping")
# The states of jobs that a command is for; others are for all jobs.
STATES = {
    "start": ("created",),
    "stop": ("created", *LIVE),
    "kill": LIVE,
    "pause": ("running",),
    "resume": ("paused",),
    "attach": LIVE,
    "write": LIVE,
    "wait": ("created", *LIVE),
    "top": LIVE,
    "stats": LIVE,
}


class Agent:
    """The agent that a command line chooses."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """`given` are the options before the command."""
        self._given = given

    def call(self, method: str, **params: Any) -> Any:
        """Return the result of a call; None if none came in time."""
        results: list[Any] = []
        # A name server or an agent may take long: the thread is left behind, and ends with the process.
        asking = threading.Thread(target=self._call, args=(results, method, params), daemon=True)
        asking.start()
        asking.join(ANSWER_SECONDS)
        return results[0] if results else None

    def _call(self, results: list[Any], method: str, params: dict[str, Any]) -> None:
        try:
            with self._choice().blocking(start=False) as client:
                results.append(client.call(method, **params))
        except Exception:
            return  # nothing to complete

    def _choice(self) -> Any:
        from pathlib import Path

        from jobworker.client.endpoint import Endpoint
        from jobworker_cli.endpoint import choose

        given: dict[str, Any] = {name: self._given.get(name) for name in ("address", "token", "pin")}
        given |= {name: Path(self._given[name]) for name in ("ca", "cert", "key") if self._given.get(name)}
        insecure = bool(self._given.get("insecure"))
        return choose(Endpoint(**given, insecure=insecure), self._given.get("context"))


def values(agent: Agent, path: Sequence[str], parameter: str, metavar: str, current: str) -> Values:
    """Return the values of a parameter of a command; `path` are its words, none for the options before it."""
    if metavar == "JOB" or parameter == "job":
        return jobs(agent, path[0], current)
    if parameter == "context" or path[:1] == ["login"] or (path[:1] == ["context"] and parameter == "name"):
        return contexts(current)
    source = SOURCES.get((*path, parameter))
    return [] if source is None else source(agent)


def jobs(agent: Agent, verb: str, current: str) -> Values:
    """Return names and ids; without the begin of one, the ids of jobs with a name are left out."""
    states = STATES.get(verb)
    answer = agent.call("job.list", limit=MAX_JOBS, **({"states": list(states)} if states else {}))
    found: dict[str, str] = {}
    for job in (answer or {}).get("jobs", ()):
        from jobworker_cli import describe

        text = f"{describe.state(job)}: {describe.command(job)}"
        if job["name"] is not None:
            found.setdefault(job["name"], text)
        if current or job["name"] is None:
            found[job["id"]] = text
    return [(word, text) for word, text in found.items() if word.startswith(current)]


def labels(agent: Agent) -> dict[str, set[str]]:
    """Return the values of the labels of jobs, by name."""
    found: dict[str, set[str]] = {}
    for job in (agent.call("job.list", limit=MAX_JOBS) or {}).get("jobs", ()):
        for name, value in job["labels"].items():
            found.setdefault(name, set()).add(value)
    return found


def contexts(current: str) -> Values:
    """Return the names of the contexts; after a comma, another one."""
    from jobworker_cli import contexts as stored

    before = current[: current.rfind(",") + 1]
    known = stored.read().contexts
    found = {LOCAL_CONTEXT: "the agent of this host"} | {name: str(each.address) for name, each in known.items()}
    return [(before + name, text) for name, text in found.items() if name not in before.split(",")]


def _named(method: str, field: str, name: str = "name") -> Callable[[Agent], Values]:
    """Return a source: the names in a list that a method returns."""

    def source(agent: Agent) -> Values:
        return [(str(each[name]), "") for each in (agent.call(method) or {}).get(field, ()) if each[name]]

    return source


def _registered(kind: str) -> Callable[[Agent], Values]:
    """Return a source: what the plugins of the agent register, as stop strategies."""

    def source(agent: Agent) -> Values:
        found = [
            each for plugin in (agent.call("plugin.list") or {}).get("plugins", ()) for each in plugin["registers"]
        ]
        return [(each.partition(":")[2], "") for each in found if each.startswith(f"{kind}:")]

    return source


_strategies, _plugins = _registered("stop_strategies"), _named("plugin.list", "plugins")
# By the words of a command and the name of its parameter.
SOURCES: dict[tuple[str, ...], Callable[[Agent], Values]] = {
    ("stop", "strategy"): _strategies,
    ("run", "stop_strategy"): _strategies,
    ("create", "stop_strategy"): _strategies,
    ("plugins", "check", "name"): _plugins,
    ("plugins", "enable", "name"): _plugins,
    ("plugins", "disable", "name"): _plugins,
    ("token", "renew", "name"): _named("token.list", "tokens"),
    ("token", "revoke", "name"): _named("token.list", "tokens"),
    ("session", "end", "ids"): _named("session.list", "sessions", "id"),
    ("session", "end", "principal"): _named("session.list", "sessions", "principal"),
    ("rpc", "method"): _named("rpc.discover", "methods"),
}
