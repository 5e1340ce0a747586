"""Run commands for the tests inside the guest; the standard library alone, and nothing of jobworker.

JSON lines on a virtio-serial port. A request is {"id", "argv", "timeout"}; its answer {"id", "code", "stdout",
"stderr"}, where code is null after the timeout (seconds). The first line after each boot is {"boot": BOOT_ID}.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PORT = "/dev/virtio-ports/control"
LARGEST = 1 << 20  # bytes of one stream in an answer; the end of it is kept
Answer = dict[str, object]


def main() -> None:
    while not os.path.exists(PORT):
        time.sleep(0.05)  # udev makes the name
    port = os.open(PORT, os.O_RDWR)
    lock = threading.Lock()

    def send(message: Answer) -> None:
        line = json.dumps(message).encode() + b"\n"
        with lock:
            while line:
                line = line[os.write(port, line) :]

    def serve(request: Answer) -> None:
        send({"id": request["id"], **run(request)})

    send({"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()})
    rest = b""
    while True:
        data = os.read(port, 65536)
        if not data:
            time.sleep(0.1)  # nobody is connected on the host
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()


def run(request: Answer) -> Answer:
    """Run one command to its end. Its output goes to files: a child left in the background delays no answer."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                request["argv"],  # type: ignore[call-overload]
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            return {"code": 127, "stdout": "", "stderr": str(error)}
        code: int | None
        try:
            code = process.wait(request["timeout"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        return {"code": code, "stdout": tail(out.fileno()), "stderr": tail(err.fileno())}


def tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, LARGEST, max(0, size - LARGEST)).decode(errors="replace")


if __name__ == "__main__":
    main()
