"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

from jobworker_cli.declare import Argument, Option

Json = Annotated[bool, Option("--json", help="Print the RPC result as one line of JSON.")]
Quiet = Annotated[bool, Option("-q", "--quiet", help="Print ids only.")]
Raw = Annotated[bool, Option("--raw", help="Pass all control sequences of the job to the terminal.")]
JobArgument = Annotated[str, Argument(metavar="JOB", help="An id, a unique prefix of one, or a name.")]
JobArguments = Annotated[list[str], Argument(metavar="JOB...", help="Ids, unique prefixes of ids, or names.")]
SomeJobs = Annotated[list[str] | None, Argument(metavar="[JOB...]", help="Ids, unique prefixes of ids, or names.")]
Labelled = Annotated[
    list[str] | None,
    Option("-l", "--label", also=["--selector"], metavar="K=V", help="In place of JOB: all jobs with this label."),
]
Selected = Annotated[
    list[str] | None, Option("--selector", metavar="K=V", help="In place of JOB: all jobs with this label.")
]
Yes = Annotated[bool, Option("-y", "--yes", help="Do not ask, also if --label means several jobs.")]

Command = Annotated[list[str], Argument(metavar="CMD...", help="The command to run, with its own options.")]
Env = Annotated[
    list[str] | None,
    Option("-e", "--env", metavar="K[=V]", help="Set a variable of its environment; K alone: as it is here."),
]
EnvFile = Annotated[
    list[Path] | None, Option("--env-file", metavar="FILE", help="Set the variables in a file: K=V or K, one a line.")
]
Secret = Annotated[
    list[str] | None,
    Option(
        "--secret",
        metavar="K[=FROM]",
        help="Set a variable that is masked in the output: as it is here, from @FILE, or PROVIDER:NAME of the agent.",
    ),
]
SecretFile = Annotated[
    list[str] | None,
    Option(
        "--secret-file",
        metavar="K[=FROM]",
        help="The same in a file that only its user can read, until it ends: the variable has the path.",
    ),
]
Remove = Annotated[bool, Option("--rm", help="Remove the job with its log when it has ended.")]
Cwd = Annotated[str | None, Option("-w", "--cwd", "--workdir", metavar="DIR", help="Run in this folder.")]
User = Annotated[str | None, Option("-u", "--user", metavar="USER[:GROUP]", help="Run as this user.")]
Umask = Annotated[str | None, Option("--umask", metavar="OCTAL", help="Its file mode mask, as 027.")]
Nice = Annotated[int | None, Option("--nice", metavar="N", help="Niceness, -20 (highest priority) to 19.")]
Rlimit = Annotated[
    list[str] | None,
    Option(
        "--rlimit",
        also=["--ulimit"],
        metavar="NAME=N",
        help='A process limit, as nofile=1024: a number, "unlimited" or SOFT:HARD.',
    ),
]
Name = Annotated[str | None, Option("--name", help="A name for the job.")]
Label = Annotated[list[str] | None, Option("-l", "--label", metavar="K=V", help="Set a label.")]
Timeout = Annotated[
    str | None, Option("--timeout", metavar="D", help='Stop it after this time: seconds, "10m", or "none".')
]
IdleTimeout = Annotated[
    str | None, Option("--idle-timeout", metavar="D", help="Stop it after this time without output.")
]
StopStrategy = Annotated[str | None, Option("--stop-strategy", metavar="S", help="The stop strategy.")]
StopOption = Annotated[
    list[str] | None, Option("--stop-option", metavar="K=V", help="An option of the strategy: JSON, or text.")
]
TimeoutPolicy = Annotated[
    list[str] | None,
    Option("--timeout-policy", metavar="'P K=V…'", help="Another time limit: a policy and its options."),
]
StopSignal = Annotated[str | None, Option("--stop-signal", metavar="SIG", help="The first signal of a stop.")]
Grace = Annotated[
    str | None,
    Option(
        "--grace", also=["--stop-timeout"], metavar="D", help="Time between the first signal of a stop and SIGKILL."
    ),
]
OnFull = Annotated[
    str | None,
    Option("--on-full", metavar="wait|drop", help="On a full disk: let the job wait, or drop output."),
]
LogMax = Annotated[str | None, Option("--log-max", metavar="SIZE", help="How much of its output is kept, at most.")]
LogKeep = Annotated[
    str | None, Option("--log-keep", metavar="newest|oldest", help="Which output is kept, if there is more.")
]
OnBound = Annotated[
    str | None,
    Option("--on-bound", metavar="drop|wait", help="Beyond that: drop output, or let the job wait for its readers."),
]
Memory = Annotated[str | None, Option("-m", "--memory", metavar="SIZE", help="Memory limit.")]
Cpus = Annotated[float | None, Option("--cpus", metavar="N", help="CPU limit.")]
Pids = Annotated[
    int | None, Option("--pids", also=["--pids-limit"], metavar="N", help="Limit of processes and threads.")
]
IoRead = Annotated[
    list[str] | None,
    Option(
        "--io-read",
        metavar="[MAJ:MIN=]SIZE",
        help="Read limit in bytes a second, of the disk that holds its folder.",
    ),
]
IoWrite = Annotated[list[str] | None, Option("--io-write", metavar="[MAJ:MIN=]SIZE", help="Write limit, likewise.")]
Watch = Annotated[bool, Option("--watch", help="Repeat every second, until Ctrl-C or until the jobs have ended.")]
PrivateTmp = Annotated[
    bool | None, Option("--private-tmp/--no-private-tmp", help="Run it with /tmp, /var/tmp and IPC of its own.")
]
NoNetwork = Annotated[bool, Option("--no-network", help="Confine it: it can make no socket.")]
NoUserns = Annotated[bool, Option("--no-userns", help="Confine it: it can make no user namespace.")]
Write = Annotated[
    list[str] | None, Option("--write", metavar="PATH", help="Confine it: it changes files beneath such paths only.")
]
Executor = Annotated[
    str | None, Option("--executor", metavar="NAME", help="Have an executor run it, as slurm; else the agent does.")
]
ExecutorOption = Annotated[
    list[str] | None,
    Option("-X", "--executor-option", metavar="K=V", help="An option of the executor: JSON, or text."),
]
PidNamespace = Annotated[
    bool | None,
    Option(
        "--pid-namespace/--no-pid-namespace",
        help="Run it in a pid namespace of its own: a stop then reaches every process.",
    ),
]
Stdin = Annotated[
    bool, Option("-i", "--interactive", "--stdin", help="Give it an input: that of jw, or of `jw write`.")
]
StdinClose = Annotated[
    bool,
    Option("--stdin-close-on-disconnect", help="End its input when jw is gone; else it stays open for `jw write`."),
]
Tty = Annotated[
    int, Option("-t", "--tty", count=True, help="Give it a terminal, ours if -i is given; -tt: also if jw has none.")
]
DetachKeys = Annotated[
    str | None,
    Option("--detach-keys", metavar="KEYS", help="What leaves the job: ctrl-p,ctrl-q by default, '' for none."),
]
Key = Annotated[str | None, Option("--key", help="Idempotency key: the same key returns the same job.")]
Shell = Annotated[bool, Option("--shell", help="CMD is one line for /bin/sh.")]
Detach = Annotated[bool, Option("-d", "--detach", help="Print the id and leave it running.")]
