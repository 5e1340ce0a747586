"""The options that several commands have, each written down once."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the RPC result as one line of JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print ids only.")]
Raw = Annotated[bool, typer.Option("--raw", help="Let the terminal obey all control sequences of the job.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="An id, a unique prefix of one, or a name.")]
JobArguments = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, unique prefixes of ids, or names.")]

Command = Annotated[list[str], typer.Argument(metavar="CMD...", help="What to run. Its own options stay its own.")]
Env = Annotated[list[str] | None, typer.Option("-e", "--env", metavar="K=V", help="A variable of its environment.")]
Cwd = Annotated[str | None, typer.Option("-w", "--cwd", metavar="DIR", help="Where it runs.")]
User = Annotated[str | None, typer.Option("-u", "--user", metavar="USER[:GROUP]", help="As whom it runs.")]
Umask = Annotated[str | None, typer.Option("--umask", metavar="OCTAL", help="Its umask, as 027.")]
Nice = Annotated[int | None, typer.Option("--nice", metavar="N", help="Its priority: -20 to 19, the meekest.")]
Rlimit = Annotated[
    list[str] | None,
    typer.Option("--rlimit", metavar="NAME=N", help='A limit, as nofile=1024: a number, "unlimited" or SOFT:HARD.'),
]
Name = Annotated[str | None, typer.Option("--name", help="A name to call it by.")]
Label = Annotated[list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="A label.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="D", help='How long it may run: seconds, "10m", or "none".')
]
IdleTimeout = Annotated[str | None, typer.Option("--idle-timeout", metavar="D", help="How long it may be silent.")]
StopStrategy = Annotated[str | None, typer.Option("--stop-strategy", metavar="S", help="How a stop ends it.")]
StopOption = Annotated[
    list[str] | None, typer.Option("--stop-option", metavar="K=V", help="An option of the strategy: JSON, or text.")
]
TimeoutPolicy = Annotated[
    list[str] | None,
    typer.Option("--timeout-policy", metavar="'P K=V…'", help="Another limit: a policy and its options."),
]
StopSignal = Annotated[str | None, typer.Option("--stop-signal", metavar="SIG", help="What a stop sends first.")]
Grace = Annotated[str | None, typer.Option("--grace", metavar="D", help="How long a stop waits before SIGKILL.")]
OnFull = Annotated[
    str | None,
    typer.Option("--on-full", metavar="wait|drop", help="On a full disk: wait, or lose output."),
]
Memory = Annotated[str | None, typer.Option("-m", "--memory", metavar="SIZE", help="How much memory it may use.")]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="N", help="How many CPUs it may use.")]
Pids = Annotated[int | None, typer.Option("--pids", metavar="N", help="How many processes it may have.")]
IoRead = Annotated[
    list[str] | None,
    typer.Option(
        "--io-read",
        metavar="[MAJ:MIN=]SIZE",
        help="How many bytes a second it may read from the disk under its folder.",
    ),
]
IoWrite = Annotated[
    list[str] | None, typer.Option("--io-write", metavar="[MAJ:MIN=]SIZE", help="The same for writing.")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Again every second, until Ctrl-C or until the jobs have ended.")
]
PidNamespace = Annotated[
    bool | None,
    typer.Option("--pid-namespace/--no-pid-namespace", help="In a pid namespace of its own: any stop is complete."),
]
Stdin = Annotated[bool, typer.Option("-i", "--interactive", help="Keep its standard input open.")]
Tty = Annotated[bool, typer.Option("-t", "--tty", help="Give it a terminal.")]
Key = Annotated[str | None, typer.Option("--key", help="The same key is the same job: safe to try again.")]
Shell = Annotated[bool, typer.Option("--shell", help="CMD is one line for /bin/sh.")]
Detach = Annotated[bool, typer.Option("-d", "--detach", help="Print the id and leave it running.")]
