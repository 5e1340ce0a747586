"""The hooks: plain functions in which a plugin registers its named objects. Arguments are append-only."""

from collections.abc import Iterable

import pluggy

from jobworker.interfaces import Authorizer, AuthProvider, PluginContext, StopStrategy, TimeoutPolicy

hookspec = pluggy.HookspecMarker("jobworker")


@hookspec
def register_auth_providers(context: PluginContext) -> Iterable[AuthProvider]:  # type: ignore[empty-body]
    """Return the objects that say who is calling; `auth.providers` in the configuration orders them."""


@hookspec
def register_authorizers(context: PluginContext) -> Iterable[Authorizer]:  # type: ignore[empty-body]
    """Return the objects that say what a principal may do; `auth.authorizers` in the configuration orders them."""


@hookspec
def register_stop_strategies(context: PluginContext) -> Iterable[StopStrategy]:  # type: ignore[empty-body]
    """Return the objects that end jobs, each by the name that specs and calls use."""


@hookspec
def register_timeout_policies(context: PluginContext) -> Iterable[TimeoutPolicy]:  # type: ignore[empty-body]
    """Return the objects that say when a job's time is up, each by the name that specs use."""
