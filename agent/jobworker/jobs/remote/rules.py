"""Rules for the spec of a job that an executor is to run: what no executor gives a job is refused."""

from msgspec import UNSET

from jobworker.errors import NotSupported
from jobworker.model import JobSpec


def check_spec(spec: JobSpec, name: str) -> None:
    """Raise NotSupported for what the executor of this name cannot give a job."""
    refused = {
        "stdin": spec.stdin is not None,
        "tty": spec.tty is not False,
        "secrets": bool(spec.all_secrets()),
        "sandbox": spec.sandbox is not None,
        "private_tmp": spec.private_tmp is not UNSET and spec.private_tmp,
        "pid_namespace": spec.pid_namespace is not UNSET and spec.pid_namespace,
        "limits.io_read": spec.limits.io_read is not None,
        "limits.io_write": spec.limits.io_write is not None,
    }
    for field, asked in refused.items():
        if asked:
            text = f"spec.{field}: a job of the executor {name!r} cannot have it; expected a job that the agent runs"
            raise NotSupported(text, hint=f"leave out {field}, or executor", field=field)
