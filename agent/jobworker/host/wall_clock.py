"""Notice when the wall clock is set: by a timer on that clock, which the kernel cancels then."""

import asyncio
import ctypes
import errno
import logging
import os
import time

from jobworker.linux.syscalls import LIBC

log = logging.getLogger(__name__)

TFD_TIMER_ABSTIME = 1
TFD_TIMER_CANCEL_ON_SET = 2
TIMER_SECONDS = 10 * 365 * 86400  # far enough: the timer is there to be cancelled


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class WallClock:
    """Sets every event in `waiters` when the clock of the host is set."""

    def __init__(self) -> None:
        self.waiters: set[asyncio.Event] = set()
        self._fd = LIBC.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            log.warning("a change of the clock cannot be noticed: %s", os.strerror(ctypes.get_errno()))
            return
        self._arm()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _arm(self) -> None:
        then = _Itimerspec(value=_Timespec(seconds=int(time.time()) + TIMER_SECONDS))
        LIBC.timerfd_settime(self._fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, ctypes.byref(then), None)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except OSError as error:
            if error.errno != errno.ECANCELED:
                return
        self._arm()
        for wakeup in self.waiters:
            wakeup.set()

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
