"""`jw agent backup` and `jw agent restore`: the state folder of this host's agent in one file, and back."""

from pathlib import Path
from typing import Annotated, Any

from jobworker.paths import Home
from jobworker.units import bytes_text
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Option, UsageError
from jobworker_cli.endpoint import home

File = Annotated[Path, Argument(metavar="FILE", help="The file of the backup: a tar archive, compressed with gzip.")]


@command
def backup(
    ctx: Context,
    file: File,
    logs: Annotated[bool, Option("--logs/--without-logs", help="With the logs of the jobs.")] = True,
    keys: Annotated[bool, Option("--keys/--without-keys", help="With the CA and the private keys.")] = True,
    config: Annotated[
        Path | None,
        Option("--config", metavar="FILE", help="With this configuration, in place of the state folder's."),
    ] = None,
    verify: Annotated[bool, Option("--verify", help="Write none: check FILE.")] = False,
    json_: options.Json = False,
) -> None:
    """Back up the state folder into a file that only you can read; the agent on it may run meanwhile."""
    ctx.obj.require_local("jw agent backup")
    if verify:
        if config is not None or not (logs and keys):
            raise UsageError("--verify: checks FILE and writes none; expected no other option")
        from jobworker.backup import restore as reading  # slow to import, as the others here

        found = reading.verify(file)
        _show_found(found, f"{file} is complete", as_json=json_)
        return
    from jobworker.backup import create

    written = create.create(home(), file, logs=logs, keys=keys, config=config)
    text = (
        f"{file}: {_jobs(written.jobs)}, {bytes_text(written.log_bytes)} of logs, {bytes_text(written.bytes)} in all"
    )
    output.show({"file": str(file), **written._asdict()}, [text], as_json=json_)
    if written.running:
        output.note(f"{_jobs(written.running)} had not ended: after a restore they are lost")


@command
def restore(
    ctx: Context,
    file: File,
    place: Annotated[
        Path | None, Option("--home", metavar="DIR", help="The state folder to make, in place of JOBWORKER_HOME.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Make a state folder of a backup, on any host. The folder must be empty or missing."""
    ctx.obj.require_local("jw agent restore")
    from jobworker.backup import restore as reading

    target = home() if place is None else Home(place.absolute())
    found = reading.restore(file, target)
    _show_found(found, f"{target.path} is restored", as_json=json_)
    if found.running:
        output.note(f"{_jobs(found.running)} had not ended at the backup: they are lost, with that reason")
    output.hint("jw agent start")


def _show_found(found: Any, what: str, *, as_json: bool) -> None:
    made = found.manifest
    text = f"{what}: {_jobs(found.jobs)} of {made.get('host')}, {made.get('created')}, {bytes_text(found.bytes)}"
    output.show(found._asdict(), [text], as_json=as_json)


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"
