"""The hooks: plain functions in which a plugin registers its named objects. Arguments are append-only.

A plugin may also have a module-level `Settings`: the type of its table in the configuration.
"""

from collections.abc import Iterable
from typing import Any

import pluggy

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

# pluggy reads the names of the arguments and never runs the bodies, hence `empty-body` below.
hookspec = pluggy.HookspecMarker("jobworker")


@hookspec
def register_auth_providers(context: PluginContext[Any]) -> Iterable[AuthProvider]:  # type: ignore[empty-body]
    """Return the objects that authenticate callers; `auth.providers` in the configuration orders them."""


@hookspec
def register_authorizers(context: PluginContext[Any]) -> Iterable[Authorizer]:  # type: ignore[empty-body]
    """Return the objects that decide what a principal may do; `auth.authorizers` in the configuration orders them."""


@hookspec
def register_stop_strategies(context: PluginContext[Any]) -> Iterable[StopStrategy]:  # type: ignore[empty-body]
    """Return the objects that stop jobs, each with the name that specs and calls use."""


@hookspec
def register_timeout_policies(context: PluginContext[Any]) -> Iterable[TimeoutPolicy]:  # type: ignore[empty-body]
    """Return the objects that decide when a job's time is up, each with the name that specs use."""


@hookspec
def register_secret_providers(context: PluginContext[Any]) -> Iterable[SecretProvider]:  # type: ignore[empty-body]
    """Return the objects that find the values of secrets, each with the name that specs use."""


@hookspec
def register_executors(context: PluginContext[Any]) -> Iterable[Executor]:  # type: ignore[empty-body]
    """Return the objects that run jobs by another engine, each with the name that specs use."""


@hookspec
def job_changed(context: PluginContext[Any], event: JobEvent) -> float | None:
    """Handle an event of a job, when it is on disk: one after the other, in order.

    It is called in the plugin's thread and may take its time: other plugins do not wait for it. It may be async.
    A number that it returns is of seconds: then it is called again with this event, also by the next agent.
    """
