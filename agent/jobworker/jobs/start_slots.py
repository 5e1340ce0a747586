"""How many starts of one principal are under way at once: a launch may hang for seconds, and holds a process."""

import asyncio


class _Slots:
    """Those of one principal."""

    def __init__(self, limit: int) -> None:
        self.free = asyncio.Semaphore(limit)
        self.users = 0  # starts under way or waiting


class StartSlots:
    """A start beyond the limit waits for another one of the same principal; those of others do not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # 0: none
        self._slots: dict[str, _Slots] = {}  # by principal: those with a start under way

    async def acquire(self, principal: str) -> None:
        """Return when the start may begin; the first to ask is the first to begin."""
        if not self._limit:
            return
        slots = self._slots.get(principal)
        if slots is None:
            slots = self._slots[principal] = _Slots(self._limit)
        slots.users += 1
        try:
            await slots.free.acquire()  # at once if there is a free one
        except BaseException:
            self._leave(principal, slots)
            raise

    def release(self, principal: str) -> None:
        """Count a start as over, whatever became of it."""
        if slots := self._slots.get(principal):
            slots.free.release()
            self._leave(principal, slots)

    def _leave(self, principal: str, slots: _Slots) -> None:
        slots.users -= 1
        if not slots.users:
            del self._slots[principal]
