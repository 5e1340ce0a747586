"""The providers of the plugin `secrets`, by the contract of secret providers."""

import os
import tempfile
from pathlib import Path

from jobworker.interfaces import Principal, SecretProvider
from jobworker.testing import SecretProviderContract, load
from jobworker_plugins import secrets

OTHERS = (Principal("bob", "token", ["writer"]), Principal("nobody", "token"))


def provider(name: str, **settings: object) -> SecretProvider:
    return load(secrets, {"roles": ["admin"], **settings}).secret_providers[name]


def folder() -> Path:
    """Return a folder with secrets, and things that are none."""
    folder = Path(tempfile.mkdtemp()) / "secrets"
    (folder / "prod").mkdir(parents=True)
    (folder / "db").write_text("of-a-file\n")
    (folder / "prod" / "key").write_text("first line\nsecond line\n")
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "out").symlink_to("/etc/passwd")
    (folder.parent / "secret").write_text("beside it")
    return folder


class TestFiles(SecretProviderContract):
    provider = provider("file", folder=str(folder()))
    values = {"db": "of-a-file", "prod/key": "first line\nsecond line"}  # noqa: RUF012  # as the contract has it
    absent = ("nope", "prod", "binary", "out", "prod/nope")
    forbidden = OTHERS


class TestVariables(SecretProviderContract):
    os.environ["JW_CONTRACT_OF_SECRETS"] = "of-the-agent"
    provider = provider("env", env=["JW_CONTRACT_*"])
    values = {"JW_CONTRACT_OF_SECRETS": "of-the-agent"}  # noqa: RUF012
    absent = ("HOME", "JW_CONTRACT_OF_NOTHING")
    forbidden = OTHERS


class TestCommand(SecretProviderContract):
    provider = provider("command", command=["sh", "-c", '[ "$0" = db ] || exit 3; echo of-a-command', "{name}"])
    values = {"db": "of-a-command"}  # noqa: RUF012
    absent = ("nope", "fails")
    forbidden = OTHERS
