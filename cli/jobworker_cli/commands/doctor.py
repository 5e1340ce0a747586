"""`jw doctor`: what this host, the agent and the context give and lack, and what to do."""

import sys
from typing import Annotated

from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Context, Option
from jobworker_cli.output.sanitise import printable
from jobworker_cli.output.write import RED, YELLOW, paint

COLOURS = {"note": YELLOW, "wrong": RED}
STATE_COLUMNS, CHECK_COLUMNS = 5, 13


@command
def doctor(
    ctx: Context,
    terminal: Annotated[
        bool, Option("--terminal", help="Set back this terminal if a program has left it raw, as `stty sane` does.")
    ] = False,
    json_: options.Json = False,
) -> int:
    """Check this host, the agent and the context: what they lack, and what to do; exit with 1 if something is wrong.

    Starts no agent and changes nothing.
    """
    if terminal:
        return _restore(as_json=json_)
    from jobworker_cli import doctor  # slow to import

    findings = []
    for finding in doctor.examine(ctx.obj):
        findings.append(finding)
        if not json_:
            state = paint(finding.state.ljust(STATE_COLUMNS), COLOURS.get(finding.state, ""), sys.stdout)
            output.emit(f"{state} {finding.check.ljust(CHECK_COLUMNS)} {printable(finding.text)}")
            if finding.hint:
                output.emit(f"{' ' * (STATE_COLUMNS + CHECK_COLUMNS + 2)}-> {printable(finding.hint)}")
    wrong = doctor.count_wrong(findings)
    if json_:
        output.emit_json({"checks": [finding._asdict() for finding in findings], "wrong": wrong})
    elif wrong:
        output.note(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
    return 1 if wrong else 0


def _restore(*, as_json: bool) -> int:
    from jobworker_cli.doctor.terminal import restore

    changed = restore()
    output.show({"restored": changed}, as_json=as_json)
    output.note("the terminal is set back" if changed else "the settings of the terminal were right")
    output.hint("reset, if its screen is still in disorder")
    return 0
