"""Who may do what: apart from who is calling, and in one place."""

from enum import Enum

from jobworker.errors import PermissionDenied
from jobworker.model import Principal


class Need(Enum):
    """What a method asks of the caller."""

    UNKNOWN = "log in"  # not even to be known
    NOTHING = "call"  # but to be known
    LOOK = "look at jobs"
    CREATE = "create jobs"
    CONTROL = "control this job"
    ADMIN = "administer the agent"


ROLES = {
    "reader": {Need.LOOK},
    "writer": {Need.LOOK, Need.CREATE},  # and CONTROL of its own
    "admin": set(Need),
}


def require(principal: Principal, need: Need, owner: str | None = None) -> None:
    """Raise PermissionDenied unless a role of the principal allows it; `owner` is the job's."""
    roles = [role for role in principal.roles if role in ROLES]
    if need is Need.NOTHING or any(need in ROLES[role] for role in roles):
        return
    if need is Need.CONTROL and "writer" in roles and owner == principal.id:
        return
    whose = f" (it belongs to {owner})" if need is Need.CONTROL and "writer" in roles else ""
    raise PermissionDenied(
        f"{principal.name} may not {need.value}{whose}: its roles are {', '.join(principal.roles) or 'none'}"
    )
