"""Starts of one principal under way at once."""

import asyncio

import pytest

from jobworker.jobs.start_slots import StartSlots


async def test_one_that_waits_and_gives_up_leaves_its_place() -> None:
    """Nothing is kept of a principal without a start, whether its starts ended, failed or were cancelled."""
    slots = StartSlots(1)
    await slots.acquire("ann")
    await slots.acquire("bob")  # not delayed by ann
    given_up = asyncio.create_task(slots.acquire("ann"))
    next_one = asyncio.create_task(slots.acquire("ann"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert not next_one.done()
    slots.release("ann")
    await next_one
    slots.release("ann")
    slots.release("bob")
    assert slots._slots == {}


async def test_no_limit() -> None:
    """0: all begin at once."""
    slots = StartSlots(0)
    for _ in range(1000):
        await slots.acquire("ann")
    slots.release("ann")
