"""A real Slurm of two nodes on this machine, with a key, ports and folders of its own: nothing of the system is used.

Each node is a namespace of pids: its end kills all that runs on it at once, as a power cut of a node does.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "unshare")
NODES = ("n1", "n2")
UP_SECONDS = 30.0
PACKAGES = "slurmctld slurmd slurm-client munge"

CONFIG = """\
ClusterName=jw
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=15
KillWait={kill_wait}
MinJobAge=600
InactiveLimit=0
MessageTimeout=10
JobRequeue=0
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE DefMemPerCPU=100 State=UP
"""

# The first process of a node: it starts slurmd, which goes to the background, and reaps what is orphaned there.
NODE = 'trap "" HUP INT TERM; slurmd -N {name}; while :; do sleep 1; done'


class Cluster:
    """The daemons of one cluster below a folder; a context manager."""

    kill_wait = 5  # seconds between the TERM and the KILL of a cancelled job

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.seconds = 0.0  # that the start took

    def __enter__(self) -> "Cluster":
        began = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self.stop)
            self._configure()
            self._start_munged()
            self.start_controller()
            for name in NODES:
                self.start_node(name)
            self.wait_idle()
            stack.pop_all()
        self.seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *command: str, timeout: float = 60) -> str:
        """Run a program of Slurm; return its output, or raise with its words."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    # Daemons

    def start_controller(self) -> None:
        self.run("slurmctld")

    def kill_controller(self) -> None:
        self._kill("slurmctld.pid")

    def start_node(self, name: str) -> None:
        """Start a node in namespaces of its own; it must be down."""
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", NODE.format(name=name)]
        with (self.folder / f"node-{name}.log").open("ab") as out:
            self._nodes[name] = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def kill_node(self, name: str) -> None:
        """Kill everything that runs on a node at once."""
        node = self._nodes.pop(name)
        node.kill()
        node.wait()

    def kill_on(self, name: str, program: str) -> int:
        """Kill all processes of that program on a node, by their name; return how many."""
        pids = [pid for pid in self._processes(name) if _name(pid) == program]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)

    def count(self, name: str, command: str) -> int:
        """Return how many processes with this command line a node has."""
        words = command.encode().replace(b" ", b"\0") + b"\0"
        return sum(_command(pid) == words for pid in self._processes(name))

    def restart_slurmd(self, name: str) -> None:
        """Start slurmd again in a node that goes on without it."""
        init = next(pid for pid in self._processes(name) if _name(pid) == "sh")
        self.run("nsenter", "-t", str(init), "-p", "-m", "slurmd", "-N", name)

    def wait_idle(self, nodes: tuple[str, ...] = NODES) -> None:
        """Return when the controller holds these nodes for usable."""

        def usable() -> bool:
            lines = self.run("sinfo", "-hN", "-o", "%N %t").split("\n")
            states = dict(line.split() for line in lines if line)
            return all(states.get(name) in ("idle", "mix", "alloc") for name in nodes)

        wait(usable, UP_SECONDS, f"the nodes {nodes} are not idle; see the logs in {self.folder}")

    def resume(self) -> None:
        """Have nodes back that were drained, which a job id that is given twice does."""
        for name in NODES:
            with suppress(RuntimeError):  # it needs no resume
                self.run("scontrol", "update", f"nodename={name}", "state=resume")
        self.wait_idle()

    def mend(self) -> None:
        """Start again what a test has ended."""
        if not self._runs("slurmctld.pid"):
            self.start_controller()
        for name in NODES:
            if name not in self._nodes:
                self.start_node(name)
        self.resume()

    def renew(self) -> None:
        """Start the nodes again: they remember ids of jobs that a controller which crashed gives again."""
        for name in NODES:
            self.kill_node(name)
            self.start_node(name)
        self.resume()

    def stop(self) -> None:
        """End all, and what runs on the nodes."""
        for name in list(self._nodes):
            self.kill_node(name)
        self._kill("slurmctld.pid")
        self._kill("munged.pid")

    # Parts

    def _configure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # other users read the configuration
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(mode=0o755, exist_ok=True)
        text = CONFIG.format(
            host=socket.gethostname().partition(".")[0],
            folder=self.folder,
            ports=_free_ports(3),
            kill_wait=self.kill_wait,
        )
        (self.folder / "slurm.conf").write_text(text)

    def _start_munged(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        # --force: it runs as root, and its folder is below one that others may write to.
        self.run(
            "munged",
            "--force",
            f"--key-file={key}",
            f"--socket={self.folder}/munge.socket",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munged.seed",
        )

    def _processes(self, name: str) -> list[int]:
        """Return the processes in the namespace of a node."""
        child = subprocess.run(
            ["pgrep", "-P", str(self._nodes[name].pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        space = os.readlink(f"/proc/{child[0]}/ns/pid")
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == space:
                    found.append(int(entry))
            except OSError:
                pass  # it has ended
        return found

    def _runs(self, pid_file: str) -> bool:
        try:
            return Path(f"/proc/{int((self.folder / pid_file).read_text())}").exists()
        except (OSError, ValueError):
            return False

    def _kill(self, pid_file: str) -> None:
        path = self.folder / pid_file
        try:
            pid = int(path.read_text())
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return
        path.unlink(missing_ok=True)
        wait(lambda: not Path(f"/proc/{pid}").exists() or _state(pid) == "Z", 10, f"{pid_file} does not end")


def missing() -> str:
    """Return why no cluster can be started here; "": one can."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"{', '.join(lacking)}: not installed (Debian: apt-get install {PACKAGES})"
    return "" if os.geteuid() == 0 else "the daemons of Slurm are started by root"


def wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Return when the condition holds; Slurm reports nothing, so that it is asked again and again."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.2)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
