"""A virtual machine under qemu: boot it, run commands in it, reboot it, cut its power."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.recipe import VENV, Image

BOOT = 300.0  # seconds a boot may take; it takes about 30 under emulation
TAIL = 40  # lines of the console in an error
COMMAND = 120.0  # seconds a command may take when the caller names no limit
PORT = 7443  # of an agent in the guest; forwarded to `Guest.port` on this host's loopback
# writeback: what the guest flushes (its fsync) is on this host's disk; what it only wrote may be lost with qemu, in
# part or whole, like the write cache of a real disk. What is still in the guest's page cache is lost for certain.
DISK = "if=virtio,format=qcow2,cache=writeback"
# Mitigations, auditing and a clock that is a device cost an emulated boot two fifths of its processor time.
KERNEL = (
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 panic=-1 quiet systemd.show_status=error "
    "mitigations=off clocksource=tsc tsc=reliable apparmor=0 audit=0 nowatchdog systemd.mask=e2scrub_reap.service"
)
# kvm where it works: here /dev/kvm may be there and a guest under it hang, so nothing takes it by itself.
ACCEL = os.environ.get("JOBWORKER_VM_ACCEL", "tcg")


@dataclass(frozen=True)
class Done:
    """What a command in the guest came to: its exit code (negative: a signal) and its output."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


class GuestError(AssertionError):
    """A command failed, or the guest did not answer in time."""


class Guest:
    """One guest on a folder of its own, which has its disk, its console log and the socket of its control channel."""

    def __init__(self, folder: Path, image: Image, code: Path, *, accel: str = ACCEL) -> None:
        self.folder = folder
        self.console = folder / "console.log"
        self.accel = accel
        self._image = image
        self._code = code
        self._qemu: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._rest = b""
        self._last = 0
        self._boot = ""
        self.port = 0

    def boot(self) -> None:
        """Start qemu on a new overlay, or on the disk of the last boot, and wait for the control channel."""
        disk = self.folder / "disk.qcow2"
        if not disk.exists():
            create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self._image.disk), str(disk)]
            subprocess.run(create, check=True)
        self.port = self.port or _free_port()
        path = self.folder / "control"
        path.unlink(missing_ok=True)
        with (self.folder / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(self._command(disk), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._connect(path)
        self._await_boot()

    def run(self, command: str, *, user: str = "root", timeout: float = COMMAND, check: bool = True) -> Done:
        """Run a line of bash in the guest and return what came of it.

        As root it is a child of the control service; as another user it has a login session of its own (`su -`).
        Raises GuestError on another exit code than 0 unless `check` is off, and always on a timeout (seconds).
        """
        line = f"export PATH={VENV}/bin:$PATH; {command}"
        argv = ["bash", "-c", line] if user == "root" else ["su", "-", user, "-c", line]
        self._last += 1
        self._send({"id": self._last, "argv": ["env", "HOME=/root", *argv], "timeout": timeout})
        deadline = time.monotonic() + timeout + 60
        while (answer := self._receive(deadline)).get("id") != self._last:
            pass  # the answer to a command whose caller has given up
        if answer["code"] is None:
            raise GuestError(f"{command!r} took more than {timeout} s\n{answer['stdout']}{answer['stderr']}")
        done = Done(answer["code"], answer["stdout"], answer["stderr"])
        if check and done.code:
            raise GuestError(f"{command!r} exited with {done.code}\n{done.stdout}{done.stderr}")
        return done

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file in the guest, as root."""
        name = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {name}) && printf %s {shlex.quote(text)} >{name} && chmod {mode:o} {name}")

    def unpack(self) -> None:
        """Have the guest take what the file with the code holds now, without a reboot."""
        self.run("blockdev --flushbufs /dev/vdb && tar -x -f /dev/vdb -C / --no-same-owner --overwrite")

    def reboot(self) -> None:
        """Reboot as an operator does, and wait for the control channel."""
        self.run("systemctl reboot --no-block")
        self._await_boot()

    def power_cut(self) -> None:
        """Kill qemu with SIGKILL, then boot the same disk again."""
        self.stop()
        self.boot()

    def copy_disk(self, target: Path) -> None:
        """Copy the disk to a file as a power cut would leave it now; the guest stands still meanwhile."""
        assert self._qemu is not None
        self._qemu.send_signal(signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, self._qemu.pid, os.WSTOPPED)  # all threads: a write that had begun is done
            subprocess.run(["cp", "--sparse=always", str(self.folder / "disk.qcow2"), str(target)], check=True)
        finally:
            self._qemu.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End qemu, which is to the guest as if its power were cut."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        if self._socket is not None:
            self._socket.close()
        self._qemu = self._socket = None
        self._rest = b""

    @property
    def is_off(self) -> bool:
        return self._qemu is None

    def attach(self) -> bool:
        """Take over a guest that another process booted in this folder and left; return whether there is one."""
        try:
            self._qemu_pid = int((self.folder / "pid").read_text())
            self.port = int((self.folder / "port").read_text())
            self._connect(self.folder / "control", wait=2)
        except (OSError, ValueError, GuestError):
            return False
        self._last = int(time.time() * 1000)  # answers to the process before are not taken for ours
        return True

    def leave(self) -> None:
        """Let the guest run on when this process ends; `attach` finds it again."""
        assert self._qemu is not None
        (self.folder / "pid").write_text(str(self._qemu.pid))
        (self.folder / "port").write_text(str(self.port))

    def end(self) -> None:
        """End a guest that was attached to."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)

    def _command(self, disk: Path) -> list[str]:
        forward = f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:{PORT}"
        return [
            "qemu-system-x86_64",
            *("-accel", self.accel, "-cpu", "qemu64" if self.accel.startswith("tcg") else "host"),
            *("-m", "1536", "-smp", "1"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", KERNEL),
            *("-drive", f"file={disk},{DISK}"),
            *("-drive", f"file={self._code},if=virtio,format=raw,readonly=on"),
            *("-nic", forward, "-device", "virtio-rng-pci"),
            *("-device", "virtio-serial"),
            *("-chardev", f"socket,id=control,path={self.folder / 'control'},server=on,wait=off"),
            *("-device", "virtserialport,chardev=control,name=control"),
            *("-display", "none", "-monitor", "none"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
        ]

    def _connect(self, path: Path, *, wait: float = 30) -> None:
        deadline = time.monotonic() + wait
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(path))
            except OSError as error:
                made.close()
                if self._qemu is not None and self._qemu.poll() is not None:
                    log = (self.folder / "qemu.log").read_text()
                    raise GuestError(f"qemu exited with {self._qemu.returncode}: {log}") from None
                if time.monotonic() > deadline:
                    raise GuestError(f"no control channel at {path}: {error}") from None
                time.sleep(0.05)
            else:
                self._socket = made
                return

    def _await_boot(self) -> None:
        deadline = time.monotonic() + BOOT
        while (boot := self._receive(deadline).get("boot", self._boot)) == self._boot:
            pass  # still the boot before
        self._boot = boot

    def _send(self, message: dict[str, object]) -> None:
        assert self._socket is not None
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _receive(self, deadline: float) -> dict[str, Any]:
        assert self._socket is not None
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                raise GuestError(f"the guest does not answer; {self.console} ends with:\n{self._console_tail()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _console_tail(self) -> str:
        try:
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-TAIL:])
        except OSError as error:
            return str(error)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
