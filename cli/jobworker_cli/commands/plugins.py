"""`jw plugins`: list, check, enable, disable and create plugins."""

from pathlib import Path
from typing import Annotated, Any

from jobworker.errors import JobworkerError
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
    """Add a plugin to `plugins.enabled` in the configuration, if the agent would start with it."""
    from jobworker import config as configuration
    from jobworker.plugin import loader as plugins

    path = config or home().config
    settings = configuration.load(path if path.exists() else None)
    if name in settings.enabled_plugins:
        output.note(f"{name} is enabled in {path}")
        return
    _require_installed(name)
    settings.plugins["enabled"] = [*settings.enabled_plugins, name]
    plugins.try_out(settings, home().path)
    _set_enabled(path, settings.plugins["enabled"])
    output.hint("jw agent restart")


@group.command()
@command
def disable(name: NameArgument, config: Config = None) -> None:
    """Remove a plugin from `plugins.enabled` in the configuration."""
    from jobworker import config as configuration

    path = config or home().config
    enabled = configuration.load(path if path.exists() else None).enabled_plugins
    if name not in enabled:
        raise JobworkerError(f"{name} is not enabled in {path}; enabled are: {', '.join(enabled)}")
    _set_enabled(path, [other for other in enabled if other != name])
    output.hint("jw agent restart")


def _require_installed(name: str) -> None:
    from jobworker.plugin.loader import installed

    if name not in (plugins := installed()):
        hint = "pip install it into the environment of `jw`"
        raise JobworkerError(f"no plugin {name!r} is installed; there are: {', '.join(sorted(plugins))}", hint=hint)


def _set_enabled(path: Path, names: list[str]) -> None:
    """Write the list into the configuration file, created if missing; keep the rest as it is, ends of lines too."""
    import tomlkit

    from jobworker.private import write_private

    if path == home().config:
        home().create()
    path = path.resolve()
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    before = path.read_bytes().decode() if path.exists() else ""
    mark, windows = BYTE_ORDER_MARK * before.startswith(BYTE_ORDER_MARK), "\r\n" in before
    document = tomlkit.parse(before.removeprefix(mark).replace("\r\n", "\n"))
    document.setdefault("plugins", tomlkit.table())["enabled"] = names
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
