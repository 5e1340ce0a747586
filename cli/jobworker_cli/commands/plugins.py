"""`jw plugins`: list, check, enable, disable and create plugins."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from jobworker.errors import JobworkerError, StartError
from jobworker.model import to_builtins
from jobworker_cli import options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Group, Option
from jobworker_cli.endpoint import home
from jobworker_cli.output import table

group = Group(help="List the plugins of the agent; check, enable, disable or create one.")
Config = Annotated[Path | None, Option("--config", metavar="FILE", help="The configuration file of the agent.")]
BYTE_ORDER_MARK = "\ufeff"
HEAD = ("NAME", "PACKAGE", "STATE", "REGISTERS")
NameArgument = Annotated[str, Argument(metavar="NAME", help="The name of the plugin.")]


@group.without_command
@command
def list_(ctx: Context, quiet: options.Quiet = False, json_: options.Json = False) -> None:
    """List the plugins of the agent with what each registers."""
    if ctx.invoked_subcommand:
        return
    with ctx.obj.blocking() as client:
        answer = client.call("plugin.list")
    rows = table.lines(HEAD, map(_row, answer["plugins"]))
    output.show(answer, rows, as_json=json_, quiet=quiet, ids=(plugin["name"] for plugin in answer["plugins"]))


def _row(plugin: dict[str, Any]) -> tuple[str, ...]:
    objects = ", ".join(map(_object, plugin["registers"]))
    return plugin["name"], f"{plugin['package']} {plugin['version']}", _state(plugin), objects


def _state(plugin: dict[str, Any]) -> str:
    """Return the state of a plugin, the worst first."""
    if not plugin["enabled"]:
        return "not enabled"
    words = [word for word in ("blocked", "dropped") if plugin.get(word)]
    faults = plugin.get("faults")
    words += [f"{faults} fault" + ("s" if faults > 1 else "")] if faults else []
    return ", ".join(words) or "enabled"


def _object(registered: str) -> str:
    """Return `stop_strategies:polite` as "stop strategy polite"."""
    kind, colon, name = registered.partition(":")
    return f"{KINDS.get(kind, kind)} {name}" if colon else "observer"


KINDS = {
    "auth_providers": "auth provider",
    "authorizers": "authorizer",
    "stop_strategies": "stop strategy",
    "timeout_policies": "timeout policy",
    "secret_providers": "secret provider",
    "executors": "executor",
}


@group.command()
@command
def check(name: NameArgument, config: Config = None, json_: options.Json = False) -> None:
    """Load an installed plugin with the enabled ones, as the agent would, and show what it registers."""
    from jobworker import config as configuration
    from jobworker.plugin import loader as plugins  # slow to import

    if config is None and home().config.exists():
        config = home().config
    settings = configuration.load(config)
    enabled = settings.enabled_plugins
    _require_installed(name)
    if name not in enabled:
        settings.plugins["enabled"] = [*enabled, name]
    tried_out = plugins.try_out(settings, home().path)
    plugin = next(tried for tried in tried_out if tried.name == name)
    pairs = [
        ("plugin", name),
        ("package", f"{plugin.package} {plugin.version}"),
        ("registers", ", ".join(map(_object, plugin.registers)) or "nothing"),
        ("settings", ", ".join(plugin.settings) or "none"),
        ("enabled", "yes" if name in enabled else "no"),
    ]
    answer = {"plugin": to_builtins(plugin), "enabled": name in enabled}
    output.show(answer, table.pair_lines(pairs), as_json=json_)
    for sentence in plugins.never_asked(settings, [plugin]):
        output.note(sentence)
    if name not in enabled and not json_:
        path = config or home().config
        output.hint(f"jw plugins enable {name}, for {path}, then jw agent restart")


@group.command()
@command
def enable(name: NameArgument, config: Config = None) -> None:
    """Add a plugin to `plugins.enabled` in the configuration, if the agent would start with it.

    An auth provider is added to the end of auth.providers, an authorizer to the beginning of auth.authorizers.
    """
    from jobworker import config as configuration
    from jobworker.plugin import loader as plugins

    path = config or home().config
    settings = configuration.load(path if path.exists() else None)
    if name in settings.enabled_plugins:
        output.note(f"{name} is enabled in {path}")
        return
    _require_installed(name)
    settings.plugins["enabled"] = [*settings.enabled_plugins, name]
    registered = _registered(plugins.try_out(settings, home().path), name)
    new = {kind: [one for one in registered[kind] if one not in named] for kind, named in _asked(settings).items()}
    auth = {
        "providers": [*settings.auth.providers, *new["providers"]],
        "authorizers": [*new["authorizers"], *settings.auth.authorizers],
    }
    _change(path, settings, auth)


@group.command()
@command
def disable(name: NameArgument, config: Config = None) -> None:
    """Remove a plugin from `plugins.enabled` in the configuration, and what it registers from auth."""
    from jobworker import config as configuration
    from jobworker.plugin import loader as plugins

    path = config or home().config
    settings = configuration.load(path if path.exists() else None)
    enabled = settings.enabled_plugins
    if name not in enabled:
        raise JobworkerError(f"{name} is not enabled in {path}; enabled are: {', '.join(enabled)}")
    try:
        registered = _registered(plugins.try_out(settings, home().path), name)
    except StartError:  # it may be the plugin that cannot be loaded
        registered = {"providers": [name], "authorizers": [name]}
    settings.plugins["enabled"] = [other for other in enabled if other != name]
    left = {kind: [one for one in named if one not in registered[kind]] for kind, named in _asked(settings).items()}
    _change(path, settings, left)


Auth: TypeAlias = dict[str, list[str]]  # `providers` and `authorizers`, as in the configuration


def _asked(settings: Any) -> Auth:
    return {"providers": settings.auth.providers, "authorizers": settings.auth.authorizers}


def _registered(tried: list[Any], name: str) -> Auth:
    """Return the auth providers and authorizers of one of the plugins that were tried out."""
    objects = [one.partition(":") for plugin in tried if plugin.name == name for one in plugin.registers]
    return {
        "providers": [one for kind, _, one in objects if kind == "auth_providers"],
        "authorizers": [one for kind, _, one in objects if kind == "authorizers"],
    }


def _change(path: Path, settings: Any, auth: Auth) -> None:
    """Write the enabled plugins and the lists of `auth` that change; raise StartError if no agent would start so."""
    from msgspec.structs import replace

    from jobworker import config as configuration

    configuration.check(path, replace(settings, auth=replace(settings.auth, **auth)))
    changed = {kind: names for kind, names in auth.items() if names != _asked(settings)[kind]}
    _write(path, {"plugins": {"enabled": settings.enabled_plugins}, **({"auth": changed} if changed else {})})
    for kind, names in changed.items():
        output.note(f"auth.{kind} is now {names}")
    output.hint("jw agent restart")


def _require_installed(name: str) -> None:
    from jobworker.plugin.loader import installed

    if name not in (plugins := installed()):
        hint = "pip install it into the environment of `jw`"
        raise JobworkerError(f"no plugin {name!r} is installed; there are: {', '.join(sorted(plugins))}", hint=hint)


def _write(path: Path, changes: dict[str, dict[str, Any]]) -> None:
    """Write keys of tables into the configuration file, created if missing; keep the rest, ends of lines too."""
    import tomlkit

    from jobworker.private import write_private

    if path == home().config:
        home().create()
    path = path.resolve()
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    before = path.read_bytes().decode() if path.exists() else ""
    mark, windows = BYTE_ORDER_MARK * before.startswith(BYTE_ORDER_MARK), "\r\n" in before
    document = tomlkit.parse(before.removeprefix(mark).replace("\r\n", "\n"))
    for table_name, keys in changes.items():
        document.setdefault(table_name, tomlkit.table()).update(keys)
    text = tomlkit.dumps(document)
    write_private(path, (mark + (text.replace("\n", "\r\n") if windows else text)).encode())
    path.chmod(mode)


@group.command()
@command
def new(
    name: NameArgument,
    kind: Annotated[
        str, Option("--kind", metavar="KIND", help="The kind of plugin: one of those below.")
    ] = "stop-strategy",
    folder: Annotated[
        Path | None, Option("--out", metavar="DIR", help="The folder to write to; default: this one.")
    ] = None,
) -> None:
    """Create a distribution ready to install: a plugin, its tests, its README.

    KIND is auth-provider, authorizer, stop-strategy, timeout-policy or observer.
    """
    from jobworker_cli import skeleton

    try:
        made = skeleton.write(name, kind, folder or Path())
    except ValueError as error:
        raise JobworkerError(str(error)) from error
    output.emit(str(made))
    output.hint(f"cd {made} && pip install -e '.[test]' && pytest")
