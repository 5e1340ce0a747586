"""Secret providers `file`, `env` and `command`: values from a folder, the agent's environment, or a program."""

import asyncio
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from jobworker.interfaces import (
    JobworkerError,
    PluginContext,
    Principal,
    SecretProvider,
    hookimpl,
    positive,
)

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*(/[A-Za-z0-9_][A-Za-z0-9_.@-]*)*")
PLACE = "{name}"  # in the command: replaced by the name of the secret
MAX_BYTES = 65536  # that are read of a file or of a command


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[plugins.secrets]`. Each provider is there if its setting is.

    `folder`: `file` reads the files beneath it. `env`: patterns of the variables that `env` may read of the agent's
    environment. `command`: the argv that `command` runs, in which `{name}` stands for the name of the secret, and
    `timeout` its time. `roles`: the roles that may use them, by default all that may start jobs.
    """

    folder: str = ""
    env: list[str] = []
    command: list[str] = []
    timeout: str | int | float = 10
    roles: list[str] = []

    def __post_init__(self) -> None:
        if self.folder and not self.folder.startswith("/"):
            raise ValueError(f"folder: {self.folder!r}; expected an absolute path")
        if self.command and not any(PLACE in word for word in self.command[1:]):
            raise ValueError(f"command: {self.command}; expected {PLACE} in one of its arguments")
        positive(self.timeout, "timeout")


class Provider(ABC):
    """The base of the three: it checks the caller and the name."""

    name = ""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def secret(self, name: str, principal: Principal) -> str:
        roles = self._settings.roles
        if roles and not {*roles} & {*principal.roles}:
            raise JobworkerError(f"{principal.name} may not use secrets of {self.name}; expected a role of {roles}")
        if not NAME.fullmatch(name) or len(name) > 255:
            raise JobworkerError(f"{name[:80]!r} is no name of a secret; expected letters, digits and _ . @ - /")
        return (await self._value(name)).removesuffix("\n")

    @abstractmethod
    async def _value(self, name: str) -> str:
        """Return the value; raise JobworkerError if there is none."""

    def _absent(self, name: str, why: str) -> JobworkerError:
        return JobworkerError(f"{self.name} has no secret {name!r}: {why}")


class Files(Provider):
    name = "file"

    async def _value(self, name: str) -> str:
        folder = Path(self._settings.folder).resolve()
        try:
            path = (folder / name).resolve(strict=True)
            if not path.is_relative_to(folder):  # links within the folder are usual in Kubernetes
                raise self._absent(name, f"it is a link to a file outside of {folder}")
            with path.open("rb") as file:
                return file.read(MAX_BYTES).decode()
        except OSError as error:
            raise self._absent(name, f"{folder / name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._absent(name, f"{folder / name} is not UTF-8") from None


class Variables(Provider):
    name = "env"

    async def _value(self, name: str) -> str:
        if not any(fnmatchcase(name, pattern) for pattern in self._settings.env):
            raise self._absent(name, "no pattern of [plugins.secrets] env matches it")
        if name not in os.environ:
            raise self._absent(name, "the agent has no such variable")
        return os.environ[name]


class Command(Provider):
    name = "command"

    async def _value(self, name: str) -> str:
        argv = [word.replace(PLACE, name) for word in self._settings.command]
        limit = positive(self._settings.timeout, "timeout")
        try:
            async with asyncio.timeout(limit):
                code, output = await _output(argv)
        except TimeoutError:
            raise self._absent(name, f"{argv[0]} has taken more than {limit:g} s") from None
        except OSError as error:
            raise self._absent(name, f"{argv[0]}: {error.strerror}") from None
        if code:
            raise self._absent(name, f"{argv[0]} has ended with code {code}")
        try:
            return output.decode()
        except UnicodeDecodeError:
            raise self._absent(name, f"the output of {argv[0]} is not UTF-8") from None


async def _output(argv: Sequence[str]) -> tuple[int, bytes]:
    """Run a command without an input; return its code and output. Its errors go to the agent's log."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, cwd="/", env=_environment()
    )
    assert process.stdout is not None
    try:
        output = await process.stdout.read(MAX_BYTES)
        return await process.wait(), output
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("JOBWORKER_")}


@hookimpl
def register_secret_providers(context: PluginContext[Settings]) -> Iterable[SecretProvider]:
    settings = context.settings
    providers = ((settings.folder, Files), (settings.env, Variables), (settings.command, Command))
    return [kind(settings) for wanted, kind in providers if wanted]
