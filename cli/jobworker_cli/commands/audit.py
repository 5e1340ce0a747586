"""`jw audit`: logins, refusals and changes, from the audit log of an agent."""

from typing import Annotated, Any

from jobworker import audit_log
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Option, UsageError
from jobworker_cli.endpoint import home
from jobworker_cli.output.sanitise import printable

MAX_ENTRIES = 1000  # of one answer of an agent


@command
def audit(
    ctx: Context,
    verify: Annotated[
        str | None, Argument(metavar="[verify]", help="Check that no line of the local log was changed or removed.")
    ] = None,
    lines: Annotated[int, Option("-n", "--lines", metavar="N", min=0, help="How many of the last entries.")] = 100,
    job: Annotated[str | None, Option("--job", help="Only entries of the job with this id.")] = None,
    principal: Annotated[
        str | None, Option("--principal", help="Only entries of this principal, as token:ann.")
    ] = None,
    denied: Annotated[bool, Option("--denied", help="Only what was refused.")] = False,
    json_: options.Json = False,
) -> int:
    """Show the audit log of the agent: one line for each login and each change. Of a remote agent, for admins."""
    if verify is not None:
        return _verify(ctx, verify, as_json=json_)
    if ctx.obj.local:  # also if no agent runs
        entries = audit_log.newest(home().audit, lines, job=job, principal=principal, denied=denied)
    else:
        wanted = {"job": job, "principal": principal, "denied": denied}
        params = {name: value for name, value in wanted.items() if value}
        with ctx.obj.blocking() as client:
            entries = client.call("audit.list", limit=min(lines, MAX_ENTRIES), **params)["entries"]
        if lines > MAX_ENTRIES:
            output.note(f"an agent of another host sends the last {MAX_ENTRIES} entries at most")
    for entry in entries:
        output.show(entry, [line(entry)], as_json=json_)
    return 0


def _verify(ctx: Context, word: str, *, as_json: bool) -> int:
    """Check the chain of the local log; return 1 if it is broken."""
    if word != "verify":
        raise UsageError(f"jw audit: {word!r}; expected verify, or options")
    ctx.obj.require_local("jw audit verify")
    verdict = audit_log.verify(home().audit)
    text = [
        f"{each.file}:{each.line}: the line before it was changed or removed ({each.time})" for each in verdict.breaks
    ]
    text.append(
        f"{verdict.linked} lines in a chain, {len(verdict.breaks)} breaks; the last one has {verdict.last or 'none'}"
    )
    shown = {"linked": verdict.linked, "unlinked": verdict.unlinked, "last": verdict.last}
    output.show(shown | {"breaks": [each._asdict() for each in verdict.breaks]}, text, as_json=as_json)
    return 1 if verdict.breaks else 0


def line(entry: dict[str, Any]) -> str:
    """Return an entry as one line of text."""
    who = entry.get("principal") or "an unknown caller"
    words = [entry.get("time"), entry.get("decision"), who, f"from {entry.get('address')}", entry.get("method")]
    words += [entry.get("job"), entry.get("target"), entry.get("outcome") if entry.get("outcome") != "ok" else None]
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    before = (
        f" (after {entry['unwritten']} lines that were too many to be recorded)" if entry.get("unwritten") else ""
    )
    return printable(" ".join(str(word) for word in words if word) + reason + before)
