"""A name means a job of the caller before those of others, whose owners are named."""

import pytest

from jobworker_cli.resolve import choose

OWN, OTHER = "token:ann", "token:bob"


def job(id_: str, owner: str, state: str = "running", name: str = "web") -> dict[str, str]:
    return {"id": id_, "owner": owner, "state": state, "name": name}


def test_an_own_job_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Also an older one, and one that has ended: `jw stop web` must not stop the job of another caller."""
    assert choose("web", [job("new", OTHER), job("old", OWN)], own=OWN) == "old"
    assert choose("web", [job("new", OTHER), job("old", OWN, "exited")], own=OWN) == "old"
    assert capsys.readouterr().err == ""


def test_the_job_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    """It is found, and the output has whose it is."""
    assert choose("web", [job("new", OTHER), job("db", OWN, name="db")], own=OWN) == "new"
    assert "web is job new of token:bob" in capsys.readouterr().err


def test_an_id_is_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert choose("ne", [job("new", OTHER), job("old", OWN)], own=OWN) == "new"
    assert capsys.readouterr().err == ""
