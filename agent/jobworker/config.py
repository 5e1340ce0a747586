"""Read the configuration: one TOML file; every key has a default, and unknown keys are errors.

``config.toml`` at the root of the repository explains each key and equals these defaults.
"""

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from jobworker import agent_log
from jobworker.agent_log import Level
from jobworker.audit_forward import Target, target
from jobworker.errors import InvalidSpec, StartError
from jobworker.model import MIN_LOG, SandboxSpec, TimeoutSpec
from jobworker.protocol import MAX_DEPTH
from jobworker.units import Duration, Size, seconds, size, uid_range
from jobworker.validation import describe_error, signal_name, too_deep

POOL = "pool"  # of the table `users`: not a principal, but a range of uids
MAX_PORT = 65535
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")  # as browsers send it

WEB_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
NAME = re.compile(r"[^\s/*:@?#\[\]]+|[0-9a-fA-F:.]+")  # of a host, or an address

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Above: TypeAlias = Annotated[float, Meta(gt=0)]


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    host: str | list[str] = "127.0.0.1"  # "::": IPv4 too
    port: int = 7443  # 0: any free port
    names: list[str] = []  # host names that clients use for the agent
    origins: list[str] = []  # of web pages that may connect
    proxies: list[str] = []  # networks of proxies whose X-Forwarded-For is believed
    proxy_protocol: list[str] = []  # networks of proxies that begin each connection with a PROXY header
    cert: str = ""  # a path; "": the agent's own certificate
    key: str = ""
    client_ca: str = ""  # a path; "": no client certificates
    revoked: str = ""  # a path; "": tls/revoked in the state folder
    expiry_warning: Duration = "30d"

    @property
    def hosts(self) -> list[str]:
        """The addresses to listen on, each once."""
        return [*dict.fromkeys([self.host] if isinstance(self.host, str) else self.host)]


class Web(Struct, frozen=True, forbid_unknown_fields=True):
    """The page in the browser."""

    enabled: bool = True
    path: str = ""  # a prefix, as "/jobs", for a proxy that passes it on
    session: Duration = "12h"  # that a page stays logged in after `jw open`; 0: until its connection ends


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics for Prometheus: at `/metrics` of the port, with credentials, and on an address without."""

    enabled: bool = True
    listen: str = ""  # HOST:PORT for plain HTTP without a login, as "127.0.0.1:9465"; "": none

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`; None if it has none, or is no address."""
        host, _, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(host)
            number = int(port)
        except ValueError:
            return None
        return (host, number) if 0 <= number <= 65535 else None


class Traces(Struct, frozen=True, forbid_unknown_fields=True):
    """Spans of requests and jobs for OpenTelemetry."""

    endpoint: str = ""  # the URL of a collector that takes OTLP, as "http://127.0.0.1:4318/v1/traces"; "": none

    @property
    def fits(self) -> bool:
        """Whether the endpoint is one, or empty."""
        try:
            parts = urlsplit(self.endpoint)
            return not self.endpoint or (
                parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            )
        except ValueError:
            return False


class Unix(Struct, frozen=True, forbid_unknown_fields=True):
    """The Unix socket. `users` has the roles of users of this host, besides the agent's own, by name or uid."""

    path: str = ""  # of the socket; "": in the run folder, which only the agent's own user can enter
    users: dict[str, list[str]] = field(default_factory=dict)


class Auth(Struct, frozen=True, forbid_unknown_fields=True):
    providers: list[str] = field(default_factory=lambda: ["token"])
    authorizers: list[str] = field(default_factory=lambda: ["roles"])
    login_timeout: Duration = "5s"
    token_lifetime: Duration = "90d"  # noqa: S105  # unless `expires_in` is given; 0: no end
    session_lifetime: Duration = "7d"  # then the client must log in again; 0: no limit


class Jobs(Struct, frozen=True, forbid_unknown_fields=True):
    timeout: Duration = 0  # 0: no limit
    timeout_policies: list[TimeoutSpec] = []
    stop_strategy: str = "graceful"
    stop_signal: str = "SIGTERM"
    grace: Duration = "10s"
    stop_limit: Duration = "30s"  # that a strategy may take longer than the grace
    deadline_near: Duration = "60s"
    log_max_bytes: Size = "1GiB"
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    lang: str = "C.UTF-8"
    pid_namespace: bool = False
    private_tmp: bool = False
    sandbox: SandboxSpec = SandboxSpec()
    user: str = ""  # the user of jobs whose spec names none; "": the agent's own


class Events(Struct, frozen=True, forbid_unknown_fields=True):
    keep: Positive = 20_000


class Retention(Struct, frozen=True, forbid_unknown_fields=True):
    age: Duration = 0  # 0: no limit, as for the other two
    min_age: Duration = 0  # before which neither number nor bytes delete a job
    jobs: Count = 10_000
    bytes: Size = "10GiB"


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    on_shutdown: Literal["auto", "stop", "leave"] = "auto"
    shutdown_limit: Duration = "60s"
    durability: Literal["process", "power"] = "process"
    log_format: Literal["text", "json"] = "text"
    log_level: Level | dict[str, Level] = "info"  # a table: by subsystem, `default` for all others


class RoleLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that principals with a role may have; None: no limit. Of several roles the widest holds."""

    grace: Duration | None = None  # of a stop, all its steps together
    time: Duration | None = None  # from the start of a job to its end
    log: Size | None = None
    memory: Size | None = None
    pids: Positive | None = None
    cpus: Above | None = None
    running: Count | None = None  # jobs at once; instead of jobs_per_principal
    created: Count | None = None  # jobs that are not started yet; instead of created_per_principal
    starts_per_second: Above | None = None
    labels: Count | None = None  # of one job
    policies: Count | None = None  # time limits by policy, of one job


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    connections: Positive = 1000  # of all callers, logged in or not
    connections_per_principal: Count = 500
    unauthenticated: Positive = 100  # connections before their login
    unauthenticated_per_address: Positive = 50
    failed_logins: Count = 30  # a minute, from one address
    requests_per_second: Count = 2000
    requests_in_flight: Positive = 64
    subscriptions: Positive = 100
    jobs_per_principal: Count = 0  # running at once; 0: no limit
    starts_per_principal: Count = 64  # under way at once, more wait; 0: no limit
    created_per_principal: Count = 10_000  # jobs that are not started yet; 0: no limit
    created_bytes_per_principal: Size = "64MiB"  # of the specs of these; 0: no limit
    plugin_call: Duration = "5s"  # that one call into a plugin may take
    roles: dict[str, RoleLimits] = field(default_factory=dict)  # "*": of roles without a table, admins excepted


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    max_bytes: Size = "256MiB"  # of all files together
    files: Positive = 8
    forward: str = ""  # "syslog", "journald", "udp://HOST:PORT", "tcp://HOST:PORT"; "": nowhere

    @property
    def target(self) -> Target | None:
        """The receiver of its lines; raises InvalidSpec."""
        return target(self.forward, "audit.forward")


STRATEGIES, POLICIES = (
    ("graceful", "ladder", "command", "input", "kill"),
    ("total", "idle", "deadline", "cpu", "waiting"),
)
BUILT_IN = ("token", "roles", *STRATEGIES, *POLICIES)


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration.

    `users` has, by principal or role, the users as which it may run jobs, and `pool`, a range of uids. `plugins` has
    `enabled`, the names of the plugins to load, and one table for each plugin.
    """

    server: Server = Server()
    web: Web = Web()
    metrics: Metrics = Metrics()
    traces: Traces = Traces()
    unix: Unix = Unix()
    auth: Auth = Auth()
    jobs: Jobs = Jobs()
    users: dict[str, list[str] | str] = field(default_factory=dict)
    events: Events = Events()
    retention: Retention = Retention()
    agent: Agent = Agent()
    limits: Limits = Limits()
    audit: Audit = Audit()
    plugins: dict[str, Any] = field(default_factory=lambda: {"enabled": [*BUILT_IN]})

    @property
    def log_levels(self) -> dict[str, int]:
        """The levels by logger; "" for all others. Raises InvalidSpec for an unknown subsystem."""
        return agent_log.levels(self.agent.log_level, self.enabled_plugins, "agent.log_level")

    @property
    def enabled_plugins(self) -> list[str]:
        return list(self.plugins["enabled"])

    @property
    def allowed_users(self) -> dict[str, list[str]]:
        """The users by principal, `role:NAME` and `*`."""
        return {key: names for key, names in self.users.items() if isinstance(names, list)}

    @property
    def uid_pool(self) -> range | None:
        """The uids for principals that have one of their own each; None: they have none."""
        pool = self.users.get(POOL)
        return uid_range(pool, f"users.{POOL}") if isinstance(pool, str) else None


def load(path: Path | None) -> Config:
    """Return the configuration in a file, or the defaults for None; raise StartError."""
    if path is None:
        return Config()
    try:
        raw = tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors write a byte order mark
        nested = too_deep(raw)
    except FileNotFoundError:
        raise StartError(f"{path}: there is no such file; expected a configuration in TOML") from None
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartError(f"{path}: is not TOML: {error}") from error
    except RecursionError:
        nested = True
    if nested:
        raise StartError(f"{path}: tables or lists are nested too deep; expected at most {MAX_DEPTH} levels")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise StartError(
            f"{path}: {describe_error(str(error), raw, Config)[1]}", hint="config.toml explains every key"
        ) from error
    check(path, config)
    return config


def check(path: Path, config: Config) -> None:
    """Check values that have the right type; raise StartError for one that cannot be used."""
    durations = {
        "server.expiry_warning": config.server.expiry_warning,
        "web.session": config.web.session,
        "auth.login_timeout": config.auth.login_timeout,
        "auth.token_lifetime": config.auth.token_lifetime,
        "auth.session_lifetime": config.auth.session_lifetime,
        "jobs.timeout": config.jobs.timeout,
        "jobs.grace": config.jobs.grace,
        "jobs.stop_limit": config.jobs.stop_limit,
        "jobs.deadline_near": config.jobs.deadline_near,
        "agent.shutdown_limit": config.agent.shutdown_limit,
        "retention.age": config.retention.age,
        "retention.min_age": config.retention.min_age,
        "limits.plugin_call": config.limits.plugin_call,
    }
    try:
        for key, value in durations.items():
            seconds(value, key)
        bound = size(config.jobs.log_max_bytes, "jobs.log_max_bytes")
        size(config.retention.bytes, "retention.bytes")
        size(config.audit.max_bytes, "audit.max_bytes")
        size(config.limits.created_bytes_per_principal, "limits.created_bytes_per_principal")
        for role, most in config.limits.roles.items():
            _check_role(f"limits.roles.{role}", most)
    except InvalidSpec as error:
        raise StartError(f"{path}: {error.message}") from error
    if 0 < bound < MIN_LOG:
        raise StartError(f"{path}: jobs.log_max_bytes: {bound}; expected 0 (no bound), or {MIN_LOG} bytes or more")
    try:
        signal_name(config.jobs.stop_signal, "jobs.stop_signal")
    except ValueError as error:
        raise StartError(f"{path}: {error}") from error
    if config.server.host in ("", []):
        raise StartError(f"{path}: server.host: {config.server.host!r}; expected an address, or a list of some")
    for key in ("proxies", "proxy_protocol"):
        for network in getattr(config.server, key):
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                expected = "expected an address or a network as 10.0.0.0/8"
                raise StartError(f"{path}: server.{key}: {network!r}; {expected}") from None
    if config.metrics.listen and config.metrics.address is None:
        expected = 'expected HOST:PORT with an address, as "127.0.0.1:9465"'
        raise StartError(f"{path}: metrics.listen: {config.metrics.listen!r}; {expected}")
    if not config.traces.fits:
        expected = 'expected the URL of a collector, as "http://127.0.0.1:4318/v1/traces"'
        raise StartError(f"{path}: traces.endpoint: {config.traces.endpoint[:200]!r}; {expected}")
    if not WEB_PATH.fullmatch(config.web.path):
        raise StartError(f'{path}: web.path: {config.web.path!r}; expected a path as "/jobs", without / at its end')
    if not 0 <= config.server.port <= MAX_PORT:
        raise StartError(f"{path}: server.port: {config.server.port}; expected 0 (any free port) to {MAX_PORT}")
    if not seconds(config.limits.plugin_call, "limits.plugin_call"):
        raise StartError(f"{path}: limits.plugin_call: 0; expected more than 0 seconds")
    if bool(config.server.cert) != bool(config.server.key):
        raise StartError(f"{path}: server.cert and server.key: only one is set; expected both or neither")
    _check_who(path, config)
    if "unix" in config.auth.providers:
        raise StartError(f"{path}: auth.providers: 'unix' names callers on the Unix socket; expected other names")
    if config.unix.path and not config.unix.path.startswith("/"):  # in which folder is an agent that `jw` started?
        raise StartError(f"{path}: unix.path: {config.unix.path!r}; expected an absolute path")
    for name in config.server.names:
        if not NAME.fullmatch(name):
            expected = "expected the name or address of this host that clients connect to, without a port or *"
            raise StartError(f"{path}: server.names: {name[:200]!r}; {expected}")
    if not config.jobs.path:
        raise StartError(f"{path}: jobs.path: {config.jobs.path!r}; expected folders, as in /usr/bin:/bin")
    if config.unix.users and not config.unix.path.startswith("/"):
        raise StartError(
            f"{path}: unix.path: {config.unix.path!r}; expected an absolute path, which unix.users can reach"
        )
    _check_users(path, config)
    enabled = config.plugins.setdefault("enabled", Config().plugins["enabled"])
    if not isinstance(enabled, list) or not all(isinstance(name, str) for name in enabled):
        raise StartError(f"{path}: plugins.enabled: {enabled!r}; expected a list of names")
    for name, table in config.plugins.items():
        if name != "enabled" and not isinstance(table, dict):
            raise StartError(
                f"{path}: plugins.{name}: {table!r}; expected `enabled` or a table of a plugin's settings"
            )
    try:
        config.log_levels  # noqa: B018  # it raises, as the next
        config.audit.target  # noqa: B018
    except InvalidSpec as error:
        raise StartError(f"{path}: {error.message}") from error


def _check_users(path: Path, config: Config) -> None:
    """Raise StartError for a table `users` with an unknown key, with root, or with a pool that cannot be used."""
    for key, names in config.users.items():
        if isinstance(names, str) != (key == POOL):
            expected = 'a range as "70000-70999"' if key == POOL else "array of users"
            raise StartError(f"{path}: users.{key}: {names!r}; expected {expected}")
        if key not in ("*", POOL) and ":" not in key:
            expected = 'a principal as "token:NAME", "role:NAME", "*" for everyone, or pool'
            raise StartError(f"{path}: users.{key}: unknown; expected {expected}")
        if isinstance(names, list) and {"", "0", "root"} & set(names):
            raise StartError(f"{path}: users.{key}: {names}; expected no root: only admins run jobs as root")
    try:
        pool = config.uid_pool
    except InvalidSpec as error:
        raise StartError(f"{path}: {error.message}") from error
    if pool and config.jobs.user:
        raise StartError(
            f"{path}: users.pool and jobs.user: both are set; expected one of them",
            hint="with a pool a job that names no user runs as the uid of its principal",
        )


def _check_role(key: str, most: RoleLimits) -> None:
    """Raise InvalidSpec for a limit of a role that no job could have."""
    for name, value in (("grace", most.grace), ("time", most.time)):
        if value is not None and not seconds(value, f"{key}.{name}") and name == "time":
            raise InvalidSpec(f"{key}.time: 0; expected more than 0 seconds")
    for name, least, amount in (("log", MIN_LOG, most.log), ("memory", 1, most.memory)):
        if amount is not None and size(amount, f"{key}.{name}") < least:
            raise InvalidSpec(f"{key}.{name}: {amount!r}; expected {least} bytes or more")


def _check_who(path: Path, config: Config) -> None:
    """Check the settings that let callers in; raise StartError for one with which no caller gets in."""
    for origin in config.server.origins:
        if fault := _origin_fault(origin):
            expected = f'expected an origin as browsers send it, "https://ops.example.org": {fault}'
            raise StartError(f"{path}: server.origins: {origin[:200]!r}; {expected}")
    if not config.auth.providers:
        raise StartError(f"{path}: auth.providers: []; expected at least one: no one could log in")
    if not config.auth.authorizers:
        raise StartError(f"{path}: auth.authorizers: []; expected at least one: no one could do anything")
    if "mtls" in config.auth.providers and not config.server.client_ca:
        raise StartError(
            f"{path}: auth.providers: 'mtls' needs server.client_ca, which is not set: no client would be asked",
            hint='set server.client_ca to the PEM file of the CA of the clients, or remove "mtls"',
        )


def _origin_fault(origin: str) -> str:
    """Return why no browser sends such an origin; "" if one can."""
    scheme, separator, rest = origin.partition("://")
    if not separator:
        return "it has no https://"
    if scheme in ("ws", "wss"):
        return f"with http{scheme[2:]}://, the scheme of the page"
    if "*" in origin:
        return "no wildcard is known, each origin is listed"
    if origin != origin.lower():
        return "in lower case"
    if "/" in rest or "?" in rest or "#" in rest:
        return "with no path, not even /"
    if rest.endswith({"https": ":443", "http": ":80"}.get(scheme, "\0")):
        return "without the default port"
    port = rest.rpartition(":")[2]
    if port.isdecimal() and int(port) > MAX_PORT:
        return f"with a port of at most {MAX_PORT}"
    return "" if ORIGIN.fullmatch(origin) else "SCHEME://HOST or SCHEME://HOST:PORT"
