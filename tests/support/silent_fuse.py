"""Serve a file system that falls silent: ``python silent_fuse.py FOLDER`` mounts it there.

Who looks for `held` waits for an answer that never comes; the write-back of a page of `dirty` is not answered either.
Once we have read such a request, its caller waits in the kernel and no signal ends it: until we end, which aborts
everything. Says a line: "mounted", or why not; "held" for each request that will not be answered.
"""

import ctypes
import os
import signal
import struct
import sys

LOOKUP, GETATTR, OPEN, READ, WRITE, INIT = 1, 3, 14, 15, 16, 26
NO_ANSWER = (2, 36, 42)  # FORGET, INTERRUPT and BATCH_FORGET expect none
FUSE_WRITEBACK_CACHE = 1 << 16
PR_SET_PDEATHSIG = 1
ROOT, DIRTY = 1, 2  # inodes
NEVER = 1 << 30  # seconds for which the kernel may remember an answer


def attributes(inode: int) -> bytes:
    mode, size = (0o40755, 0) if inode == ROOT else (0o100644, 4096)
    return struct.pack("<6Q10I", inode, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation: int, inode: int, body: bytes) -> bytes | int | None:
    """Return the body of the answer, an errno, or None for silence."""
    if operation == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 0, FUSE_WRITEBACK_CACHE, 0, 0, 4096, 1, 0, 0, *[0] * 8)
    if operation == LOOKUP:
        if body == b"held\0":
            return None
        return struct.pack("<4Q2I", DIRTY, 0, NEVER, NEVER, 0, 0) + attributes(DIRTY) if body == b"dirty\0" else 2
    if operation == GETATTR:
        return struct.pack("<Q2I", NEVER, 0, 0) + attributes(inode)
    if operation == OPEN:
        return bytes(16)
    if operation == READ:
        return bytes(4096)
    return None if operation == WRITE else 38


def main() -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whatever becomes of the test: even ps hangs for as long as we live
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if libc.mount(b"silent", os.fsencode(sys.argv[1]), b"fuse", 0, options.encode()):
        print(os.strerror(ctypes.get_errno()), flush=True)
        return
    print("mounted", flush=True)
    while True:
        message = os.read(device, 1 << 17)
        _, operation, number, inode = struct.unpack_from("<2I2Q", message)
        if operation in NO_ANSWER:
            continue
        said = answer(operation, inode, message[40:])
        if said is None:
            print("held", flush=True)
        elif isinstance(said, int):
            os.write(device, struct.pack("<IiQ", 16, -said, number))
        else:
            os.write(device, struct.pack("<IiQ", 16 + len(said), 0, number) + said)


if __name__ == "__main__":
    main()
