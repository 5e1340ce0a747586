"""Timeout policy `waiting`: a job that has waited for its input for `limit` is stopped, or gets a line as answer."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobworker.interfaces import PluginContext, RunFacts, TimeoutPolicy, hookimpl, positive

MAX_ANSWER = 4000  # characters: a terminal takes lines of 4,095 bytes
EXPECTED = 'waiting takes {"limit": duration, "answer": "the line to write in place of a stop"}'


class Waiting:
    name = "waiting"
    wants_cpu = False  # CPU times cost something to read, and `due` does not use them
    wants_waiting = True

    def check(self, options: Mapping[str, Any]) -> None:
        if not {"limit"} <= set(options) <= {"limit", "answer"}:
            raise ValueError(f"{EXPECTED}; got {dict(options)!r}")
        positive(options["limit"], "limit")
        answer = options.get("answer", "")
        if not isinstance(answer, str) or len(answer) > MAX_ANSWER:
            raise ValueError(f"answer: {str(answer)[:80]!r}; expected a text of at most {MAX_ANSWER} characters")

    def due(self, options: Mapping[str, Any], facts: RunFacts) -> float | None:
        return None if facts.waiting_since is None else facts.waiting_since + positive(options["limit"], "limit")

    def answer(self, options: Mapping[str, Any], facts: RunFacts) -> str | None:
        return f"{options['answer']}\n" if "answer" in options else None

    def reason(self, options: Mapping[str, Any], facts: RunFacts) -> str:
        return f"it waited for its input at {facts.prompt!r}" if facts.prompt else "it waited for its input"


@hookimpl
def register_timeout_policies(context: PluginContext[None]) -> Iterable[TimeoutPolicy]:
    return [Waiting()]
