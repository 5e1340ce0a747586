"""A cgroup v2 for each job."""

import errno
import os
import sys

from jobworker.linux.proc import group_of


class Cgroups:
    """A cgroup v2 per job, where this process may make them; elsewhere `root` is empty."""

    def __init__(self, name: str) -> None:
        self.root = ""  # as a folder
        self.path = ""  # as in /proc/PID/cgroup
        self.home = -1
        mount = self._mount()
        if not mount:
            return
        own = group_of("self").partition("/jobworker-")[0]  # started by another agent's job: not in its group
        base = mount + own.rstrip("/")
        root = f"{base}/jobworker-{name}"
        try:
            self.home = os.open(f"{base}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.makedirs(f"{root}/probe", exist_ok=True)
            self.enter(f"{root}/probe")
            self.leave()
            os.rmdir(f"{root}/probe")
            if not os.path.exists(f"{root}/cgroup.kill"):
                raise OSError(errno.ENOSYS, "the kernel has no cgroup.kill")
            self.root, self.path = root, f"{own.rstrip('/')}/jobworker-{name}"
        except OSError as error:
            print(f"jobs get no cgroup of their own under {base}: {error}", file=sys.stderr, flush=True)

    @staticmethod
    def _mount() -> str:
        with open("/proc/self/mountinfo") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                if rest.startswith("cgroup2 "):
                    return fields.split()[4]
        return ""

    @staticmethod
    def enter(group: str) -> None:
        fd = os.open(f"{group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)

    def leave(self) -> None:
        os.write(self.home, b"0")

    def kill(self, job: str) -> None:
        """Kill all in the job's cgroup."""
        with open(f"{self.root}/{job}/cgroup.kill", "wb", buffering=0) as file:
            file.write(b"1")

    def freeze(self, job: str, *, frozen: bool) -> None:
        """Freeze all in the job's cgroup, or let it go on."""
        with open(f"{self.root}/{job}/cgroup.freeze", "wb", buffering=0) as file:
            file.write(b"1" if frozen else b"0")

    def members(self, job: str) -> list[int]:
        """Return the pids in the job's cgroup and in those below it."""
        pids: list[int] = []
        for folder, _, _ in os.walk(f"{self.root}/{job}"):
            try:
                with open(f"{folder}/cgroup.procs") as file:
                    pids += [int(line) for line in file]
            except OSError:
                continue
        return pids

    def remove(self, job: str) -> bool:
        """Remove the job's cgroup; return whether it is gone, which takes the end of its last process."""
        if not self.root:
            return True
        try:
            os.rmdir(f"{self.root}/{job}")  # as a rule there is nothing in it
            return True
        except OSError:
            pass
        for folder, _, _ in os.walk(f"{self.root}/{job}", topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False
        return True

    def remove_all(self) -> None:
        """Remove the cgroup that holds those of the jobs, if no job is left in it."""
        if self.root:
            try:
                os.rmdir(self.root)
            except OSError:
                pass
