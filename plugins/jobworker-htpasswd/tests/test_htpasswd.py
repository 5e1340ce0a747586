"""Test `htpasswd` against the contract of auth providers, with files that change, and with an agent."""

import asyncio
import tempfile
from pathlib import Path

import bcrypt
import jobworker_htpasswd
import pytest

from jobworker.errors import ConnectionFailed, StartError, Unauthenticated
from jobworker.interfaces import AuthProvider, Credentials, Principal
from jobworker.testing import AuthProviderContract, load

PASSWORD = "correct horse"


def line(name: str, password: str = PASSWORD) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return f"{name}:{hashed.replace('$2b$', '$2y$')}\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def provider(path: Path, **more: object) -> AuthProvider:
    return load(jobworker_htpasswd, {"file": str(path), "default_roles": ["writer"], **more}).auth_providers[
        "htpasswd"
    ]


def ask(provider: AuthProvider, name: str, password: str = PASSWORD) -> Principal | None:
    return asyncio.run(provider.authenticate(Credentials("basic", username=name, password=password)))


SHARED = write(Path(tempfile.mkdtemp()) / "htpasswd", f"# people\n\n{line('ann')}{line('bob', 'ü' * 36)}")


class TestContract(AuthProviderContract):
    provider = provider(SHARED)
    accepted = (
        Credentials("basic", username="ann", password=PASSWORD),
        Credentials("basic", username="bob", password="ü" * 36),
    )
    refused = (
        Credentials("basic", username="ann", password="Tr0ub4dor&3"),
        Credentials("basic", username="ann", password=""),
        Credentials("basic", username="ann", password=f"{PASSWORD}\0"),
        Credentials("basic", username="bob", password="ü" * 36 + "more"),
        Credentials("basic", username="", password=PASSWORD),
        Credentials("basic", username="carl", password=PASSWORD),
        Credentials("basic", username="# people", password=PASSWORD),
    )


def test_roles_by_name() -> None:
    htpasswd = provider(SHARED, roles={"ann": ["admin"], "bob": []})
    assert ask(htpasswd, "ann") == Principal("ann", "htpasswd", ["admin"])
    with pytest.raises(Unauthenticated, match="no rule"):
        ask(htpasswd, "bob", "ü" * 36)


def test_a_file_that_changes(tmp_path: Path) -> None:
    """A new password counts at once, even after a login with the old one; without a file all logins are refused."""
    path = write(tmp_path / "htpasswd", line("ann"))
    htpasswd = provider(path)
    assert ask(htpasswd, "ann")
    write(path, line("ann", "another") + "bob:plain\n")
    with pytest.raises(Unauthenticated):
        ask(htpasswd, "ann")
    assert ask(htpasswd, "ann", "another")
    path.chmod(0o644)
    write_twice = line("bob")
    path.write_text(write_twice)
    for _ in range(2):  # the second time as well
        with pytest.raises(Unauthenticated, match="cannot be read"):
            ask(htpasswd, "ann", "another")
    path.unlink()
    with pytest.raises(Unauthenticated, match="cannot be read"):
        ask(htpasswd, "ann", "another")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", 0o600, "line 1: no bcrypt hash"),
        ("\nann\n", 0o600, "line 2"),
        ("", 0o644, "others can read it"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, mode: int, words: str) -> None:
    path = tmp_path / "htpasswd"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(StartError, match=words):
        provider(path)


def test_with_an_agent(jobworker_agent, tmp_path: Path) -> None:
    path = write(tmp_path / "htpasswd", line("ann"))
    config = f"""
        [auth]
        providers = ["token", "htpasswd"]
        [plugins.htpasswd]
        file = "{path}"
        roles = {{ann = ["reader"]}}
    """
    agent = jobworker_agent(config, plugins=["htpasswd"])

    async def caller(password: str) -> str:
        from jobworker.client import connect

        async with connect(agent.address, username="ann", password=password, ca=agent.ca) as client:
            return (await client.whoami()).id

    assert asyncio.run(caller(PASSWORD)) == "htpasswd:ann"
    with pytest.raises((Unauthenticated, ConnectionFailed)):
        asyncio.run(caller("wrong"))
