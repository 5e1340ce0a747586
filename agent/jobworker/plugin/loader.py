"""Load the plugins that the configuration enables, by their entry points."""

import importlib.metadata
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pluggy
from msgspec.structs import replace

from jobworker import __version__
from jobworker.config import BUILT_IN, Config
from jobworker.errors import StartError
from jobworker.interfaces import (
    Authorizer,
    AuthProvider,
    Executor,
    JobEvent,
    PluginContext,
    SecretProvider,
    StopStrategy,
    TimeoutPolicy,
)
from jobworker.model import LOCAL
from jobworker.plugin import hookspecs
from jobworker.plugin.host import PluginFault, PluginHost
from jobworker.tokens import TokenFile
from jobworker.validation import describe_error

GROUP = "jobworker"
LOAD_SECONDS = 10.0  # for a plugin to be imported and to register
MAX_OBJECTS = 1000  # that one hook may register
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class Kind(NamedTuple):
    """What a hook registers: the attribute of the registry, and the methods and attributes of each object."""

    objects: str
    methods: tuple[str, ...]
    attributes: Mapping[str, tuple[type, ...]] = {}


KINDS = {
    "register_auth_providers": Kind("auth_providers", ("authenticate",)),
    "register_authorizers": Kind("authorizers", ("grants",)),
    "register_stop_strategies": Kind("stop_strategies", ("check", "stop")),
    "register_timeout_policies": Kind("timeout_policies", ("check", "due")),
    "register_secret_providers": Kind("secret_providers", ("secret",)),
    "register_executors": Kind(
        "executors",
        ("check", "submit", "find", "poll", "ring", "cancel"),
        {"kill_grace": (int, float), "users": (bool,), "folder": (str,), "python": (str,)},
    ),
}
OBSERVER = "job_changed"


class Plugin(msgspec.Struct, frozen=True):
    """An installed plugin; of a loaded one `registers` has `KIND:NAME`, and `settings` the keys of its table."""

    name: str
    package: str
    version: str
    enabled: bool = False
    registers: list[str] = []
    settings: list[str] = []

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.package} {self.version})"


class Registry:
    """What the loaded plugins registered, by name."""

    def __init__(self) -> None:
        self.auth_providers: dict[str, AuthProvider] = {}
        self.authorizers: dict[str, Authorizer] = {}
        self.stop_strategies: dict[str, StopStrategy] = {}
        self.timeout_policies: dict[str, TimeoutPolicy] = {}
        self.secret_providers: dict[str, SecretProvider] = {}
        self.executors: dict[str, Executor] = {}
        self.observers: dict[str, Callable[[JobEvent], Any]] = {}  # by plugin
        self.roles: dict[str, set[str]] = {}  # by authorizer: the roles that it knows
        self.plugins: list[Plugin] = []


def installed() -> dict[str, list[tuple[importlib.metadata.EntryPoint, Plugin]]]:
    """Return the installed plugins by name; if several have one name, all of them."""
    by_name: dict[str, list[tuple[importlib.metadata.EntryPoint, Plugin]]] = {}
    packages: dict[Any, tuple[str, str]] = {None: ("?", "?")}  # by distribution: each look parses all its metadata
    for point in importlib.metadata.entry_points(group=GROUP):
        if point.dist is not None and point.dist not in packages:
            metadata = point.dist.metadata
            packages[point.dist] = metadata["Name"], metadata["Version"]
        package, version = packages[point.dist]
        by_name.setdefault(point.name, []).append((point, Plugin(point.name, package, version)))
    for name in BUILT_IN:
        if name not in by_name:  # the metadata of an editable installation is as old as its last `pip install`
            point = importlib.metadata.EntryPoint(name, f"jobworker_plugins.{name}", GROUP)
            by_name[name] = [(point, Plugin(name, "jobworker", __version__))]
    return by_name


def load(config: Config, state: Path, host: PluginHost) -> Registry:
    """Load the enabled plugins; raise StartError with the plugin and the reason for any fault."""
    available = installed()
    loader = Loader(config.plugins, state, host)
    for name in config.enabled_plugins:
        candidates = available.get(name, [])
        if not candidates:
            raise StartError(
                f"plugins.enabled: {name!r} is not installed; there are: {', '.join(sorted(available))}",
                hint="pip install the package that provides it, or remove it from the list",
            )
        if len(candidates) > 1:
            packages = " and ".join(f"{plugin.package} {plugin.version}" for _, plugin in candidates)
            raise StartError(f"plugins.enabled: {name!r} is provided by {packages}; expected one of them")
        loader.load(*candidates[0])
    for name in config.plugins:
        if name != "enabled" and name not in available:
            raise StartError(
                f"[plugins.{name}]: no such plugin is installed; there are: {', '.join(sorted(available))}"
            )
    _require(config, loader.registry, host)
    return loader.registry


def try_out(config: Config, state: Path) -> list[Plugin]:
    """Return the plugins that would be loaded; raise StartError if the agent would not start with them."""
    host = PluginHost()
    try:
        return load(config, state, host).plugins
    finally:
        host.close()


def never_asked(config: Config, plugins: Iterable[Plugin]) -> list[str]:
    """Return a sentence for each registered auth provider and authorizer that the configuration does not name."""
    named = {"auth_providers": config.auth.providers, "authorizers": config.auth.authorizers}
    keys = {"auth_providers": "auth.providers", "authorizers": "auth.authorizers"}
    return [
        f"{name!r} of the plugin {plugin.name!r} is never asked: {keys[kind]} does not name it"
        for plugin in plugins
        for kind, _, name in (registered.partition(":") for registered in plugin.registers)
        if kind in named and name not in named[kind]
    ]


class Loader:
    """Loads one plugin after the other, each in its own thread and in limited time."""

    def __init__(self, tables: Mapping[str, Any], state: Path, host: PluginHost) -> None:
        self.registry = Registry()
        self._manager = pluggy.PluginManager("jobworker")
        self._manager.add_hookspecs(hookspecs)
        self._tables = tables
        self._state = state
        self._host = host
        self._owners: dict[tuple[str, str], Plugin] = {}  # of an object, by its kind and name

    def load(self, point: importlib.metadata.EntryPoint, plugin: Plugin) -> Plugin:
        """Import a plugin and call its hooks; return it with what it registered. Raises StartError."""
        if any(loaded.name == plugin.name for loaded in self.registry.plugins):
            raise StartError(f"plugins.enabled: {plugin.name!r} is there twice; expected each plugin once")
        try:
            loaded = self._host.first(plugin.name, partial(self._register, point, plugin), LOAD_SECONDS)
        except StartError as error:
            raise StartError(f"{plugin}: {error.message}", hint=error.hint) from error
        except PluginFault as error:
            raise StartError(f"{plugin}: {error}") from error
        self.registry.plugins.append(loaded)
        return loaded

    def _register(self, point: importlib.metadata.EntryPoint, plugin: Plugin) -> Plugin:
        """Import a plugin and call each of its hooks. In the plugin's thread."""
        if not point.pattern.match(point.value):
            raise StartError(f"its entry point is {point.value!r}; expected MODULE, or MODULE:OBJECT")
        plugin_object = point.load()
        self._manager.register(plugin_object, plugin.name)
        self._manager.check_pending()
        hooks = _hooks(self._manager, plugin_object)
        if not hooks:
            raise StartError(f"it implements no hook; expected one of {', '.join([*KINDS, OBSERVER])}")
        log = logging.getLogger(f"plugin.{plugin.name}")
        tokens = TokenFile(self._state / "tokens.json")
        context = PluginContext(plugin.name, self._settings(plugin_object, plugin.name), self._state, log, tokens)
        registers = []
        for hook, implementation in hooks.items():
            if hook == OBSERVER:
                self.registry.observers[plugin.name] = partial(_observe, implementation, context)
                registers.append(OBSERVER)
                continue
            for registered in _returned(hook, _call(implementation, context=context)):
                registers.append(self._add(hook, registered, plugin))
        return replace(
            plugin, enabled=True, registers=registers, settings=_keys(getattr(plugin_object, "Settings", None))
        )

    def _settings(self, plugin_object: Any, name: str) -> Any:
        """Return the plugin's table of the configuration as its `Settings`; raise StartError with the field."""
        table, kind = self._tables.get(name, {}), getattr(plugin_object, "Settings", None)
        if kind is None:
            if table:
                raise StartError(f"[plugins.{name}] {next(iter(table))}: unknown; the plugin takes no settings")
            return None
        try:
            return msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            cause = error.__cause__
            if isinstance(cause, TypeError):  # of its __post_init__: a fault of the plugin, not of the table
                raise cause from error
            text = str(cause) if cause else describe_error(str(error), table)[1]
            if text.endswith(": unknown"):
                text += f"; expected some of {', '.join(_keys(kind))}"
            raise StartError(f"[plugins.{name}] {text}") from error

    def _add(self, hook: str, registered: Any, plugin: Plugin) -> str:
        kind = KINDS[hook]
        name = getattr(registered, "name", None)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            expected = "expected letters, digits, '_', '.', ':' or '-', at most 64"
            raise StartError(f"{hook}: an object whose name is {str(name)[:80]!r}; {expected}")
        if kind.objects == "auth_providers" and ":" in name:
            expected = "expected no ':', which ends it in the ids of principals"
            raise StartError(f"{hook}: an object whose name is {name!r}; {expected}")
        if kind.objects == "executors" and name == LOCAL:
            raise StartError(f"{hook}: an object whose name is {name!r}; expected another: it stands for the agent")
        _require_members(hook, kind, name, registered)
        if other := self._owners.get((hook, name)):
            raise StartError(
                f"{hook}: the name {name!r} is taken by {'the same plugin' if other is plugin else other}"
            )
        self._owners[hook, name] = plugin
        if kind.objects == "authorizers":
            self.registry.roles[name] = {str(role) for role in getattr(registered, "roles", ())}
        getattr(self.registry, kind.objects)[name] = registered
        self._host.own(registered, plugin.name)
        return f"{kind.objects}:{name}"


def _require_members(hook: str, kind: Kind, name: str, registered: Any) -> None:
    """Raise StartError if an object lacks a method or an attribute of its kind."""
    for method in kind.methods:
        if not callable(getattr(registered, method, None)):
            raise StartError(f"{hook}: {name!r} has no method {method}(); expected {' and '.join(kind.methods)}")
    for attribute, types in kind.attributes.items():
        value = getattr(registered, attribute, None)
        if not isinstance(value, types):
            expected = types[-1].__name__
            raise StartError(f"{hook}: {name!r}: {attribute} is {repr(value)[:80]}; expected a {expected}")


def _hooks(manager: pluggy.PluginManager, plugin_object: Any) -> dict[str, pluggy.HookImpl]:
    """Return the implementations of hooks in a plugin, in the order of the specifications."""
    hooks = {}
    for caller in manager.get_hookcallers(plugin_object) or []:
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin_object:
                if implementation.hookwrapper or implementation.wrapper:
                    raise StartError(
                        f"{caller.name}: it is a wrapper; expected a plain hook, for each is called alone"
                    )
                hooks[caller.name] = implementation
    return {name: hooks[name] for name in [*KINDS, OBSERVER] if name in hooks}


def _keys(kind: Any) -> list[str]:
    """Return the keys of a `Settings` type; those that must be given as `KEY (required)`."""
    if kind is None:
        return []
    fields = getattr(msgspec.inspect.type_info(kind), "fields", None)
    if fields is None:
        return ["any"]
    return [f"{field.encode_name} (required)" if field.required else field.encode_name for field in fields]


def _call(implementation: pluggy.HookImpl, **arguments: Any) -> Any:
    """Call a hook with the arguments that it names."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def _observe(implementation: pluggy.HookImpl, context: PluginContext[Any], event: JobEvent) -> Any:
    return _call(implementation, context=context, event=event)


def _returned(hook: str, returned: Any) -> list[Any]:
    if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
        raise StartError(f"{hook}: it returned {type(returned).__name__}; expected a list of objects")
    objects = list(islice(returned, MAX_OBJECTS + 1))
    if len(objects) > MAX_OBJECTS:
        raise StartError(f"{hook}: it returned more than {MAX_OBJECTS} objects; expected some")
    return objects


def _require(config: Config, registry: Registry, host: PluginHost) -> None:
    """Raise StartError if the configuration names an object that no plugin registers."""
    wanted: list[tuple[str, dict[str, Any], list[str]]] = [
        ("auth.providers", registry.auth_providers, config.auth.providers),
        ("auth.authorizers", registry.authorizers, config.auth.authorizers),
        ("jobs.stop_strategy", registry.stop_strategies, [config.jobs.stop_strategy]),
        (
            "jobs.timeout_policies",
            registry.timeout_policies,
            [limit.policy for limit in config.jobs.timeout_policies],
        ),
    ]
    for key, objects, names in wanted:
        for name in names:
            if name not in objects:
                raise StartError(f"{key}: no plugin registers {name!r}; there are: {_names(objects)}")
    for limit in config.jobs.timeout_policies:
        _try("jobs.timeout_policies", registry.timeout_policies[limit.policy], limit.options, host)
    _try("jobs.stop_strategy", registry.stop_strategies[config.jobs.stop_strategy], {}, host)


def _try(key: str, checker: StopStrategy | TimeoutPolicy, options: Mapping[str, Any], host: PluginHost) -> None:
    """Raise StartError if a strategy or policy of the configuration refuses its options."""
    try:
        host.first(host.owner(checker), partial(checker.check, options), LOAD_SECONDS)
    except PluginFault as error:
        what = "refuses its options" if isinstance(error.__cause__, ValueError) else "could not check its options"
        raise StartError(f"{key}: {checker.name} {what}: {error}") from error


def _names(objects: dict[str, Any]) -> str:
    return ", ".join(sorted(objects)) or "none"
