"""The options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the RPC result as one line of JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print ids only.")]
Raw = Annotated[bool, typer.Option("--raw", help="Pass all control sequences of the job to the terminal.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="An id, a unique prefix of one, or a name.")]
JobArguments = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, unique prefixes of ids, or names.")]

Command = Annotated[list[str], typer.Argument(metavar="CMD...", help="The command to run, with its own options.")]
Env = Annotated[
    list[str] | None, typer.Option("-e", "--env", metavar="K=V", help="Set a variable of its environment.")
]
Cwd = Annotated[str | None, typer.Option("-w", "--cwd", metavar="DIR", help="Run in this folder.")]
User = Annotated[str | None, typer.Option("-u", "--user", metavar="USER[:GROUP]", help="Run as this user.")]
Umask = Annotated[str | None, typer.Option("--umask", metavar="OCTAL", help="Its file mode mask, as 027.")]
Nice = Annotated[int | None, typer.Option("--nice", metavar="N", help="Niceness, -20 (highest priority) to 19.")]
Rlimit = Annotated[
    list[str] | None,
    typer.Option(
        "--rlimit", metavar="NAME=N", help='A process limit, as nofile=1024: a number, "unlimited" or SOFT:HARD.'
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="A name for the job.")]
Label = Annotated[list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="Set a label.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="D", help='Stop it after this time: seconds, "10m", or "none".')
]
IdleTimeout = Annotated[
    str | None, typer.Option("--idle-timeout", metavar="D", help="Stop it after this time without output.")
]
StopStrategy = Annotated[str | None, typer.Option("--stop-strategy", metavar="S", help="The stop strategy.")]
StopOption = Annotated[
    list[str] | None, typer.Option("--stop-option", metavar="K=V", help="An option of the strategy: JSON, or text.")
]
TimeoutPolicy = Annotated[
    list[str] | None,
    typer.Option("--timeout-policy", metavar="'P K=V…'", help="Another time limit: a policy and its options."),
]
StopSignal = Annotated[str | None, typer.Option("--stop-signal", metavar="SIG", help="The first signal of a stop.")]
Grace = Annotated[
    str | None, typer.Option("--grace", metavar="D", help="Time between the first signal of a stop and SIGKILL.")
]
OnFull = Annotated[
    str | None,
    typer.Option("--on-full", metavar="wait|drop", help="On a full disk: let the job wait, or drop output."),
]
Memory = Annotated[str | None, typer.Option("-m", "--memory", metavar="SIZE", help="Memory limit.")]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="N", help="CPU limit.")]
Pids = Annotated[int | None, typer.Option("--pids", metavar="N", help="Limit of processes and threads.")]
IoRead = Annotated[
    list[str] | None,
    typer.Option(
        "--io-read",
        metavar="[MAJ:MIN=]SIZE",
        help="Read limit in bytes a second, of the disk that holds its folder.",
    ),
]
IoWrite = Annotated[
    list[str] | None, typer.Option("--io-write", metavar="[MAJ:MIN=]SIZE", help="Write limit, likewise.")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Repeat every second, until Ctrl-C or until the jobs have ended.")
]
PidNamespace = Annotated[
    bool | None,
    typer.Option(
        "--pid-namespace/--no-pid-namespace",
        help="Run it in a pid namespace of its own: a stop then reaches every process.",
    ),
]
Stdin = Annotated[bool, typer.Option("-i", "--interactive", help="Keep standard input open.")]
Tty = Annotated[bool, typer.Option("-t", "--tty", help="Allocate a terminal.")]
Key = Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key returns the same job.")]
Shell = Annotated[bool, typer.Option("--shell", help="CMD is one line for /bin/sh.")]
Detach = Annotated[bool, typer.Option("-d", "--detach", help="Print the id and leave it running.")]
