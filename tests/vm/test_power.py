"""The power goes while jobs are created, end and write: with durability "power" nothing that was answered is lost."""

import asyncio

import pytest
from tests.vm.guest import Guest
from tests.vm.power import Subject

pytestmark = [pytest.mark.vm, pytest.mark.slow]


def test_what_was_answered_survives_a_power_cut(guest: Guest) -> None:
    """Jobs, exits, deletions and closed logs are as they were answered; no byte is served that no job wrote."""
    subject = Subject(guest, "power")
    try:
        loss = asyncio.run(subject.cut(10))
    finally:
        subject.remove()
    assert loss.answered > 0
    assert loss.closed > 0
    assert (loss.jobs, loss.statuses, loss.invented, loss.revived, loss.closed_lost, loss.wrong) == (0,) * 6, loss
