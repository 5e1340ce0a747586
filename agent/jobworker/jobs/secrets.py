"""The secrets of jobs: values that a spec has or names, in memory until the job has ended.

The agent writes them to a file of the run folder, from which keeper and pump read them. The job table, the journal,
events, the audit log and all answers have `***`.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from jobworker.errors import DiskFull, InvalidSpec, InvalidState, JobworkerError, NotSupported, PolicyRejected
from jobworker.formats.masking import Masker, forms
from jobworker.formats.secrets import (
    FOLDER,
    IN_FILE,
    MAX_BYTES,
    MIN_BYTES,
    encode,
    in_files,
    read_secrets,
    secrets_path,
)
from jobworker.interfaces import SecretProvider
from jobworker.jobs.plan import LaunchPlan
from jobworker.jobs.record import JobRecord
from jobworker.jobs.secret_files import SecretFiles, require_memory
from jobworker.model import JobSpec, Principal, SecretRef
from jobworker.plugin.host import PluginFault, PluginHost
from jobworker.protocol import HIDDEN

log = logging.getLogger(__name__)

MAX_SECRETS = 64  # of a job
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")  # of a variable


def take_values(spec: JobSpec) -> tuple[JobSpec, dict[str, str]]:
    """Return the spec without the values of its secrets, and the values as they are kept; raise InvalidSpec."""
    secrets = spec.all_secrets()
    if not secrets:
        return spec, {}
    if len(secrets) > MAX_SECRETS:
        raise _invalid("", f"{len(secrets)} secrets; expected at most {MAX_SECRETS}")
    for name in secrets:
        variable = name.removeprefix(IN_FILE)
        if not NAME.fullmatch(variable):
            raise _invalid("", f"the name {variable[:80]!r}; expected letters, digits and '_', at most 128")
        if variable in spec.env or (variable != name and variable in spec.secrets):
            also = "env" if variable in spec.env else "secrets"
            raise _invalid(name, f"{also} has it as well; expected each variable once")
    values = {name: value for name, value in secrets.items() if isinstance(value, str)}
    check_values(values)
    hidden = dict.fromkeys(values, HIDDEN)
    files = in_files(hidden)
    return replace(
        spec,
        secrets={name: hidden.get(name, value) for name, value in spec.secrets.items()},
        secret_files={name: files.get(name, value) for name, value in spec.secret_files.items()},
    ), values


def check_values(values: Mapping[str, str]) -> None:
    """Raise InvalidSpec for values that cannot be passed on, or hidden. No message has any part of them."""
    for name, value in values.items():
        length = len(os.fsencode(value)) if _is_text(value) else 0
        if "\0" in value or not _is_text(value):
            raise _invalid(name, "a value that is no text, or has a NUL character; expected neither")
        if length < MIN_BYTES:
            why = "its masks in the output would reveal a shorter one"
            raise _invalid(name, f"a value of {length} bytes; expected {MIN_BYTES} or more: {why}")
    if (total := sum(len(os.fsencode(value)) for value in values.values())) > MAX_BYTES:
        raise _invalid("", f"the values have {total} bytes; expected at most {MAX_BYTES} in all")


def _is_text(value: str) -> bool:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False
    return True


def _invalid(name: str, text: str) -> InvalidSpec:
    field = _field(name)
    return InvalidSpec(f"{field}: {text}", field=field)


def _field(name: str) -> str:
    """Return the field of the spec that has a secret, by its name as it is kept; "": all of them."""
    if name.startswith(IN_FILE):
        return f"secret_files.{name.removeprefix(IN_FILE)}"
    return f"secrets.{name}" if name else "secrets"


class Secrets:
    """The files of the secrets of all jobs."""

    def __init__(
        self,
        run: Path,
        providers: Mapping[str, SecretProvider],
        host: PluginHost,
        capabilities: Callable[[], Mapping[str, object]],
    ) -> None:
        self._run = str(run)
        self._files = SecretFiles(run)
        self._providers = providers
        self._host = host
        # Returns the capabilities of this host, from the keeper.
        self._capabilities = capabilities

    def check(self, spec: JobSpec) -> None:
        """Raise NotSupported or InvalidSpec if the agent cannot get or keep the secrets of a spec."""
        for field in ("secrets", "secret_files"):
            if getattr(spec, field) and not self._capabilities().get(field):
                raise NotSupported(f"{field}: the keeper is of an older version", field=field)
        for name, value in spec.all_secrets().items():
            if isinstance(value, SecretRef) and value.provider not in self._providers:
                there = ", ".join(sorted(self._providers)) or "none"
                raise _invalid(name, f"no secret provider {value.provider[:80]!r}; there are: {there}")

    def keep(self, job: str, values: Mapping[str, str]) -> None:
        """Write the values of a new job; raise NotSupported if the run folder is not in memory, or DiskFull."""
        path = Path(secrets_path(self._run, job))
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            require_memory(path.parent, "secrets")
            new = path.with_name(f"{job}.new")
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(encode(values))
            new.rename(path)
        except OSError as error:
            raise DiskFull(f"the secrets of a job cannot be kept in {path.parent}: {error.strerror}") from error

    async def complete(self, job: str, spec: JobSpec, by: Principal) -> None:
        """Before a start, get the values that the spec only names; raise InvalidState or PolicyRejected."""
        values = self._read(job)
        secrets = spec.all_secrets()
        missing = [name for name, value in secrets.items() if isinstance(value, str) and name not in values]
        if missing:
            text = f"job {job}: the value of {_field(missing[0])} is gone: the host was restarted since its creation"
            raise InvalidState(text, hint="create the job again", state="created")
        named = {name: value for name, value in secrets.items() if isinstance(value, SecretRef)}
        if named:
            found = {name: await self._provided(name, value, by) for name, value in named.items()}
            values |= found
            check_values(values)
            self.keep(job, values)

    async def _provided(self, name: str, secret: SecretRef, by: Principal) -> str:
        provider, field = self._providers[secret.provider], _field(name)
        try:
            value: Any = await self._host.call(provider, lambda: provider.secret(secret.name, by))
        except PluginFault as error:  # its text is of any exception, and may have a part of the value
            log.error("job secret %r: %s", secret.name[:80], error)
            text = f"{field}: {secret.provider} failed; the agent's log has the reason"
            raise PolicyRejected(text, field=field) from error
        except JobworkerError as error:
            raise PolicyRejected(f"{field}: {str(error)[:500]}", field=field) from error
        if not isinstance(value, str):
            text = f"{field}: {secret.provider} returned {type(value).__name__}; expected a text"
            raise PolicyRejected(text, field=field)
        return value

    def path_of(self, job: str, spec: JobSpec) -> str:
        """Return the path of the file of a job, for the keeper; "" if the job has no secrets."""
        return secrets_path(self._run, job) if spec.secrets or spec.secret_files else ""

    def write_files(self, job: str, plan: LaunchPlan) -> dict[str, str]:
        """Write the files of a job that is about to start; return the variables with their paths."""
        if not plan.spec.secret_files:
            return {}
        return self._files.write(job, in_files(self._read(job)), plan.user, private_tmp=plan.private_tmp)

    def masked(self, job: str, text: str) -> str:
        """Return a text about a running job without its secrets."""
        values = self._read(job)
        if not values:
            return text
        return os.fsdecode(Masker(forms(values.values())).mask(os.fsencode(text), final=True)[0])

    def _read(self, job: str) -> dict[str, str]:
        try:
            return read_secrets(secrets_path(self._run, job))
        except FileNotFoundError:
            return {}

    def inactive(self, record: JobRecord) -> None:
        """Remove the values of a job that can no longer change."""
        if record.job.spec.all_secrets():
            self.drop(record.job.id)

    def drop(self, job: str) -> None:
        """Remove the values of a job that has ended, or was deleted; with the last ones the folder."""
        self._files.drop(job)
        path = Path(secrets_path(self._run, job))
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def kept(self) -> list[str]:
        """Return the jobs of which there are values."""
        with suppress(FileNotFoundError):
            return [*os.listdir(f"{self._run}/{FOLDER}"), *self._files.kept()]
        return self._files.kept()
