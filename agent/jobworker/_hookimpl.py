"""The marker by which a plugin says that a function implements a hook."""

import pluggy

hookimpl = pluggy.HookimplMarker("jobworker")
