"""Verbs of docker, kubectl, systemctl, pueue, tsp, supervisorctl, Slurm, nohup and ssh that `jw` does not have.

Each line: the verbs, what jobworker does instead, the next command. In a command, {job} is the first word after the
verb (JOB if there is none), {rest} all of them, {more} those after the first.
"""

Lines = tuple[tuple[str, str, str], ...]

VERBS: Lines = (
    # Starting
    ("exec enter nsenter rsh", "a job is one command: run another one beside it", "jw run -- {more}"),
    (
        "add submit enqueue queue sbatch batch spawn launch nohup",
        "run -d leaves a command running",
        "jw run -d -- {rest}",
    ),
    ("execute call srun do now", "a command is started with run", "jw run -- {rest}"),
    ("sudo doas su runuser", "a job runs as another user with --user", "jw run --user root -- {rest}"),
    ("bash sh zsh fish shell console", "a shell is a job with a terminal", "jw run -it -- bash"),
    (
        "ssh remote connect",
        "another host has an agent of its own: name it once",
        "jw context add NAME --address wss://HOST:7443/rpc",
    ),
    (
        "at cron crontab schedule timer timers every",
        "jobworker starts jobs at once: let cron or a timer of systemd call jw run",
        "jw run -d -- {rest}",
    ),
    (
        "restart rerun redo respawn retry requeue restart-job",
        "a job runs once: stop it, then run its command again",
        "jw status {job}",
    ),
    (
        "apply compose up stack deploy rollout expose autoscale",
        "jobworker has no files of services: each job is one command",
        "jw run -d --name NAME -- CMD",
    ),
    (
        "scale parallel group switch stash",
        "jobs do not wait for each other: each is started by itself",
        "jw run -d -- CMD",
    ),
    (
        "enable disable mask unmask autostart",
        "jobs are not started with the host: the agent can be",
        "jw agent install --systemd",
    ),
    (
        "edit set-property renice limit limits nice",
        "update changes the limits and labels of a job",
        "jw update {job} --help",
    ),
    ("label annotate tag", "update replaces the labels of a job", "jw update {job} --label K=V"),
    ("rename mv", "the name of a job stays: a label can be changed", "jw update {job} --label K=V"),
    # Looking
    (
        "get list-units list-jobs jobs squeue show-jobs avail containers pods processes sacct queue-status",
        "ps lists jobs",
        "jw ps -a",
    ),
    (
        "describe show view details cat-job scontrol property is-active is-failed is-running pid state info-job",
        "status shows all about one job",
        "jw status {job}",
    ),
    ("follow tail tailf fg stream journal maintail", "logs -f follows the output of a job", "jw logs -f {job}"),
    (
        "cat output out less more head read print journalctl stdout stderr",
        "logs prints the output of a job",
        "jw logs {job}",
    ),
    ("grep", "logs prints the output of a job: grep it", "jw logs {job} | grep {more}"),
    ("monitor watch events-follow subscribe notify", "events follows what happens to jobs", "jw events"),
    (
        "usage cpu mem memory du htop metrics",
        "stats shows what jobs use, top the processes of one",
        "jw stats --watch",
    ),
    ("pstree tree", "top shows the processes of a job", "jw top {job}"),
    ("history last", "ps -a lists jobs that have ended, too", "jw ps -a"),
    ("reason debug diagnose blame", "explain shows what happened to a job, in order", "jw explain {job}"),
    ("port ports", "a job uses the ports of its host: nothing is mapped", "jw top {job}"),
    ("diff changes", "a job changes the files of its host: nothing is recorded", "jw status {job}"),
    # Ending
    (
        "cancel terminate end quit abort scancel halt shutdown-job interrupt finish",
        "stop ends a job with all its processes",
        "jw stop {rest}",
    ),
    (
        "destroy murder killall pkill xkill force-stop",
        "kill ends a job at once with all its processes",
        "jw kill {rest}",
    ),
    (
        "remove purge del erase discard forget clear",
        "rm removes jobs that have ended, with their logs",
        "jw rm {rest}",
    ),
    ("clean cleanup gc reap system", "prune removes jobs that have ended, with their logs", "jw prune"),
    ("signal sig send-signal hup reload", "kill --signal sends one signal", "jw kill --signal=HUP {job}"),
    ("suspend freeze hold sigstop", "pause freezes a job with all its processes", "jw pause {rest}"),
    (
        "continue cont thaw unfreeze release sigcont unsuspend bg",
        "resume lets a paused job continue",
        "jw resume {rest}",
    ),
    ("disown detach", "a job runs on by itself when jw ends", "jw ps"),
    ("join await wait-for", "wait exits as the job does", "jw wait {job}"),
    # Input and terminals
    (
        "send input stdin feed echo type send-keys",
        "write sends a line to a job that was started with -i",
        "jw write {rest}",
    ),
    ("reattach resize tmux screenshot", "attach shows the terminal of a job", "jw attach {job}"),
    # Files, images, networks
    (
        "cp copy scp upload download push-file rsync",
        "jobworker copies no files: a job reads those of its host, and its input",
        "jw run -i -- tee FILE < FILE",
    ),
    (
        "build image images pull push save load import export commit container pod",
        "jobworker has no images: a job is a program of the host",
        "jw run -- CMD",
    ),
    (
        "volume volumes network networks mount unmount service services node nodes swarm",
        "a job has the files and the network of its host: nothing is mapped",
        "jw run -w DIR -- CMD",
    ),
    (
        "port-forward proxy tunnel",
        "a job has the network of its host: ssh -L forwards a port",
        "ssh -L PORT:localhost:PORT HOST",
    ),
    (
        "secret configmap env-file env environment",
        "a job gets its variables when it is created",
        "jw run --env-file FILE -- CMD",
    ),
    # The agent
    (
        "info node-info cluster-info about ping health healthcheck capabilities",
        "agent info shows the agent",
        "jw agent info",
    ),
    (
        "daemon server serve agentd start-agent up-agent",
        "agent run is an agent in the foreground, agent start one in the background",
        "jw agent start",
    ),
    (
        "daemon-reload reread reconfigure daemon-restart",
        "agent restart reads its configuration again; jobs run on",
        "jw agent restart",
    ),
    ("shutdown poweroff down stop-agent", "agent stop ends the agent; its jobs run on", "jw agent stop"),
    (
        "install setup init bootstrap",
        "agent install makes the agent a service of this host",
        "jw agent install --systemd",
    ),
    (
        "upgrade self-update",
        "the package manager upgrades jw; agent restart then runs the new version",
        "jw agent restart",
    ),
    (
        "config settings configure configuration",
        "agents are named in contexts; the agent reads its config.toml",
        "jw context ls",
    ),
    ("use switch-context ctx", "context use chooses an agent", "jw context use {job}"),
    ("contexts hosts servers remotes clusters", "context ls lists the agents that have a name", "jw context ls"),
    ("logout signout", "context rm forgets an agent with its credentials", "jw context rm NAME"),
    ("whoami user users me can-i auth", "auth.whoami shows how the agent knows you", "jw rpc auth.whoami"),
    ("tokens apikey keys", "token list shows the tokens", "jw token list"),
    ("sessions clients connections", "session list shows the open connections", "jw session list"),
    ("certs certificate certificates tls ca", "cert makes and checks certificates", "jw cert --help"),
    ("plugin extensions", "plugins lists the plugins of the agent", "jw plugins"),
    ("api methods api-resources discover openrpc schema", "rpc.discover lists all methods", "jw rpc rpc.discover"),
    ("man usage-help docs", "help lists the options of a command", "jw --help"),
)

# The same within a group of commands: agent, context and others.
INNER: dict[str, Lines] = {
    "agent": (
        ("log tail journal", "agent logs prints the log of the agent", "jw agent logs"),
        ("kill end quit down shutdown", "agent stop ends the agent; its jobs run on", "jw agent stop"),
        ("reload upgrade", "agent restart reads its configuration again; jobs run on", "jw agent restart"),
        ("up daemon serve", "agent start runs it in the background, agent run in the foreground", "jw agent start"),
        ("enable", "agent install makes the agent a service of this host", "jw agent install --systemd"),
        ("disable", "agent uninstall removes the service", "jw agent uninstall --systemd"),
        ("ps version show ping health", "agent info shows the agent", "jw agent info"),
    ),
    "context": (
        ("current current-context get-contexts get", "context ls marks the one in use", "jw context ls"),
        ("set switch select use-context", "context use chooses an agent", "jw context use {job}"),
        ("new set-context create", "context add names an agent", "jw context add NAME --address wss://HOST:7443/rpc"),
    ),
    "plugins": (
        (
            "install",
            "a plugin is a package: pip installs it, enable makes the agent load it",
            "jw plugins enable {job}",
        ),
        ("uninstall rm remove", "disable keeps the agent from loading it", "jw plugins disable {job}"),
        ("add", "enable makes the agent load a plugin", "jw plugins enable {job}"),
        ("init create", "plugins new writes a plugin with tests", "jw plugins new NAME"),
        ("test validate lint info show", "plugins check loads a plugin as the agent would", "jw plugins check {job}"),
    ),
    "token": (("refresh rotate", "token renew makes a new one in its place", "jw token renew {job}"),),
    "session": (("kill stop close revoke rm", "session end closes connections", "jw session end --help"),),
}
