"""Have processes see another wall clock, as after a clock that was wrong: a library that is loaded into them.

Only the wall clock moves: CLOCK_MONOTONIC and CLOCK_BOOTTIME, which no one can set, stay as they are.
"""

import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *offset; /* seconds, in the file that SET_CLOCK names, so that they can change */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SET_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED) offset = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
    return failed;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""


@dataclass
class SetClock:
    """A wall clock that differs from the real one by `set` seconds, for processes with its environment."""

    folder: Path

    def __post_init__(self) -> None:
        source = self.folder / "set_clock.c"
        source.write_text(SOURCE)
        library = self.folder / "set_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        self.set(0)

    def set(self, seconds: float) -> None:
        """Set the clock of all processes with it, also of those that run."""
        with open(os.open(self.folder / "offset", os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
            file.write(struct.pack("l", int(seconds)))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.folder / "set_clock.so"), "SET_CLOCK": str(self.folder / "offset")}

    @property
    def command(self) -> list[str]:
        """The beginning of a command that runs with this clock."""
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())]
