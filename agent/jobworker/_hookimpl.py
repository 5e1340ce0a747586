"""The decorator that marks a function of a plugin as the implementation of a hook."""

import pluggy

hookimpl = pluggy.HookimplMarker("jobworker")
