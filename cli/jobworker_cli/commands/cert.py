"""`jw cert`: make, renew and show certificates in files of this host."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from jobworker.errors import JobworkerError
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Group, Option, UsageError
from jobworker_cli.endpoint import home
from jobworker_cli.output import table

group = Group(help="Make, renew, show and revoke certificates.")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
FILES = ("ca.pem", "ca.key", "server.pem", "server.key")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*")

Out = Annotated[
    Path | None, Option("--out", metavar="DIR", help="The folder to write to; default: the local agent's.")
]
Names = Annotated[
    list[str] | None, Option("--name", metavar="HOST", help="A host name or address for the certificate.")
]


@group.command()
@command
def init(
    out: Out = None,
    name: Names = None,
    force: Annotated[
        bool, Option("--force", help="Replace a CA: clients that trust the old one can no longer connect.")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Make a CA and a server certificate, and print their paths."""
    names = _usable(name) or [socket.gethostname()]
    folder = _folder(out)
    if (folder / "ca.pem").exists() and not force:
        raise JobworkerError(
            f"{folder / 'ca.pem'} exists: clients that trust it could no longer connect",
            hint="--out DIR for another one, --force to replace it",
        )
    _refuse_to_overwrite([folder / file for file in FILES], force)
    from jobworker.tls.certificates import make_all

    if out is None:
        home().create()
    make_all(folder, dict.fromkeys([*names, *LOCAL_NAMES]))
    if out is None:
        _signal_agent()
    _show_files(folder, FILES, json_)


@group.command()
@command
def issue(
    name: Annotated[str, Argument(metavar="NAME", help="The subject: a name, a host or a mail address.")],
    out: Annotated[Path, Option("--out", metavar="DIR", help="The folder for NAME.pem and NAME.key.")],
    client: Annotated[bool, Option("--client/--server", help="For a client or for a server.")] = True,
    names: Names = None,
    ou: Annotated[
        list[str] | None,
        Option("--ou", metavar="ROLE", help="An organizational unit; the plugin `mtls` takes it as a role."),
    ] = None,
    days: Annotated[
        int | None,
        Option("--days", metavar="N", min=1, help="Days until it expires; default: 90, for a server 397."),
    ] = None,
    ca: Annotated[
        Path | None, Option("--ca", metavar="DIR", help="The folder of the CA; default: the local agent's.")
    ] = None,
    force: Annotated[bool, Option("--force", help="Overwrite existing files.")] = False,
    json_: options.Json = False,
) -> None:
    """Make a client or server certificate signed by the CA, and print its paths."""
    from jobworker.tls import certificates

    if not FILE_NAME.fullmatch(name) or not _usable([name]):
        raise UsageError(f"name: {name!r}; expected letters, digits and . _ - @ :, as alice or ops@example.org")
    out, hosts = out.absolute(), _usable(names)

    purpose = certificates.CLIENT if client else certificates.SERVER
    if days is not None and days > purpose.max_days:
        raise UsageError(f"days: {days}; expected at most {purpose.max_days}")
    if long := [unit for unit in ou or [] if not 1 <= len(unit) <= 64]:
        raise UsageError(f"ou: {long[0]!r}; expected 1 to 64 characters")
    _refuse_to_overwrite([out / f"{name}.pem", out / f"{name}.key"], force)
    authority = certificates.Authority.load(_folder(ca))
    certificates.issue(authority, name, hosts, purpose, days, ou or [], out)
    _show_files(out, (f"{name}.pem", f"{name}.key"), json_, ("cert", "key"))


@group.command()
@command
def show(
    files: Annotated[list[Path], Argument(metavar="FILE...", help="Files with certificates in PEM.")],
    json_: options.Json = False,
) -> None:
    """Show certificates: names, use, expiry, fingerprint."""
    from jobworker.tls import certificates

    shown = [
        {"file": str(file)} | certificates.describe(certificate)
        for file in files
        for certificate in certificates.load(file)
    ]
    output.show(shown, _lines(shown), as_json=json_)


@group.command()
@command
def revoke(
    wanted: Annotated[
        list[str], Argument(metavar="FILE...", help="Client certificates in PEM, or their fingerprints.")
    ],
    out: Annotated[
        Path | None,
        Option("--out", metavar="FILE", help="`server.revoked` of the agent; default: the local agent's."),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Revoke client certificates: the agent refuses them, and ends their connections."""
    from jobworker.private import require_trusted, write_private
    from jobworker.tls.revoked import parse

    lines = [line for each in wanted for line in _revoked_lines(each)]
    path = (out or home().revoked).absolute()
    if out is None:
        home().create()
        path.parent.mkdir(mode=0o700, exist_ok=True)
    require_trusted(path)
    before = path.read_text() if path.exists() else ""
    known = parse(before, str(path))
    new = [line for line in lines if not parse(line, "") <= known]
    if new:
        write_private(path, "".join(f"{line}\n" for line in (*before.splitlines(), *new)).encode())
    output.show({"file": str(path), "revoked": sorted(parse("\n".join(lines), ""))}, [str(path)], as_json=json_)
    if out is None:
        _signal_agent()


def _revoked_lines(wanted: str) -> list[str]:
    """Return a line of the file for a fingerprint, or for the first certificate of a file."""
    from jobworker.tls import certificates
    from jobworker.tls.revoked import parse

    path = Path(wanted)
    if path.exists() or "/" in wanted or not wanted.lower().replace(":", "").removeprefix("sha256"):
        described = certificates.describe(certificates.load(path)[0])
        return [f"{described['fingerprint']}  # {described['subject']}, until {described['not_after'][:10]}"]
    parse(wanted, "FILE")
    return [wanted]


def _lines(certificates: list[dict[str, Any]]) -> Iterator[str]:
    for number, certificate in enumerate(certificates):
        if number:
            yield ""
        shown = {name.replace("_", " "): _text(value) for name, value in certificate.items() if value or value == 0}
        yield from table.pair_lines(list(shown.items()))


@group.command()
@command
def renew(
    out: Out = None,
    ca: Annotated[
        bool, Option("--ca", help="Renew the CA too: clients that trust the old one can no longer connect.")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Make a new server certificate for the same names; a running agent loads it by itself."""
    from jobworker.tls import certificates

    folder = _folder(out)
    if ca:
        certificates.renew_ca(folder)
    else:
        certificates.renew(folder)
    if out is None:
        _signal_agent()
    fingerprint = certificates.describe(certificates.load(folder / "server.pem")[0])["fingerprint"]
    if ca:
        output.note(f"clients that trust the old CA cannot connect until they have {folder / 'ca.pem'}")
        output.note("client certificates of the old CA are no longer accepted; make new ones: jw cert issue")
    output.note(f"clients that pin the certificate need the new fingerprint: {fingerprint}")
    _show_files(folder, FILES if ca else FILES[2:], json_)


def _folder(chosen: Path | None) -> Path:
    return (chosen or home().tls).absolute()


def _usable(names: list[str] | None) -> list[str]:
    """Return the names; raise UsageError for one that a certificate cannot hold."""
    from jobworker.tls.certificates import usable_name

    for name in names or []:
        if not usable_name(name):
            raise UsageError(f"name: {name!r}; expected a host name, an address or a mail address")
    return names or []


def _refuse_to_overwrite(paths: list[Path], force: bool) -> None:
    existing = [str(path) for path in paths if path.exists()]
    if existing and not force:
        raise JobworkerError(f"{existing[0]} exists", hint="--out DIR for another place, --force to overwrite it")


def _show_files(folder: Path, files: tuple[str, ...], as_json: bool, keys: tuple[str, ...] = ()) -> None:
    names = keys or [file.replace(".", "_") for file in files]
    paths = [str(folder / file) for file in files]
    output.show(dict(zip(names, paths, strict=True)), paths, as_json=as_json)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _signal_agent() -> None:
    """Have a running agent load the new certificate at once; its watch would do so a second later."""
    from jobworker.client.local import signal_agent

    pid = signal_agent(home(), signal.SIGHUP)
    if pid is not None:
        output.note(f"the agent (pid {pid}) loads it now")
