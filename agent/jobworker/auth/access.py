"""Decide what a principal may do, from the grants that an authorizer gave it when it logged in.

A job that the caller may not see is reported like one that does not exist.
"""

from collections.abc import Sequence
from enum import Enum
from fnmatch import fnmatchcase

from jobworker.errors import PermissionDenied
from jobworker.interfaces import Grant
from jobworker.jobs.scope import Scope
from jobworker.model import JobSummary, Principal


class Requires(Enum):
    """What a method requires of its caller; the value completes "may not ..."."""

    ANONYMOUS = "log in"  # no login
    LOGIN = "call"  # a login and no grant
    READ = "read jobs"
    CREATE = "create jobs"
    CONTROL = "control this job"
    ADMIN = "administer the agent"


class Permissions:
    """What one principal may do: whatever any of its grants allows."""

    def __init__(self, principal: Principal, grants: Sequence[Grant]) -> None:
        self.principal = principal
        # What is below follows from these alone, so it holds as long as they: until the session ends. Labels of jobs
        # and their owners are compared again at each call.
        self._grants = grants
        # What `require` has allowed, by method. Only methods of the protocol get there, so they are few.
        self._allowed: dict[str, Requires] = {}
        # The grants for methods that were called.
        self._granted: dict[str, list[Grant]] = {}
        # The scopes of methods that were called.
        self._scopes: dict[str, tuple[Scope, ...]] = {}

    def require(self, method: str, requires: Requires) -> None:
        """Raise PermissionDenied for a method that no grant allows for any job."""
        if self._allowed.get(method) is requires:
            return
        if not self.allows(method, requires):
            raise PermissionDenied(f"{self.principal.name} may not {requires.value}: {self._roles()}")
        self._allowed[method] = requires

    def allows(self, method: str, requires: Requires) -> bool:
        """Whether a grant allows the method for any job."""
        allowed = {
            Requires.ANONYMOUS: True,
            Requires.LOGIN: True,
            Requires.READ: bool(self.scopes(method)),
            Requires.CONTROL: bool(self.scopes(method)),  # require_control decides for each job
            Requires.CREATE: any(grant.create for grant in self._grants_for(method)),
            Requires.ADMIN: self.is_admin(method),
        }
        return allowed[requires]

    @property
    def grants(self) -> Sequence[Grant]:
        """What the principal was granted when it logged in."""
        return self._grants

    @property
    def has_rights(self) -> bool:
        """Whether any grant allows anything."""
        return any(grant.admin or grant.create or grant.look != "none" for grant in self._grants)

    def is_admin(self, method: str) -> bool:
        """Whether a grant makes the principal an admin when it calls this method."""
        return any(grant.admin for grant in self._grants_for(method))

    def require_control(self, method: str, job: JobSummary) -> None:
        """Raise PermissionDenied unless the principal controls this job, which it may see."""
        grants = [grant for grant in self._grants_for(method) if grant.control != "none"]
        if any(self._scope(grant, grant.control).holds(job.owner, job.labels) for grant in grants):
            return
        owner = f" (it belongs to {job.owner})" if grants else ""
        raise PermissionDenied(f"{self.principal.name} may not {Requires.CONTROL.value}{owner}: {self._roles()}")

    def controls(self, job: JobSummary) -> bool:
        """Whether the principal created this job, or controls it by any of its grants."""
        if job.owner == self.principal.id:
            return True
        return any(
            grant.control != "none" and self._scope(grant, grant.control).holds(job.owner, job.labels)
            for grant in self._grants
        )

    def require_create(self, method: str, labels: dict[str, str]) -> None:
        """Raise PermissionDenied for a new job whose labels no grant allows."""
        grants = [grant for grant in self._grants_for(method) if grant.create]
        if not any(Scope(None, grant.labels).holds("", labels) for grant in grants):
            allowed = " or ".join(str(dict(grant.labels)) for grant in grants)
            text = (
                f"{self.principal.name} may not create a job with the labels {str(labels)[:200]}; expected {allowed}"
            )
            raise PermissionDenied(text)

    def scopes(self, method: str) -> tuple[Scope, ...]:
        """Return which jobs the principal sees when it calls this method."""
        scopes = self._scopes.get(method)
        if scopes is None:
            grants = self._grants_for(method)
            scopes = tuple(self._scope(grant, grant.look) for grant in grants if grant.look != "none")
            self._scopes[method] = scopes
        return scopes

    def _scope(self, grant: Grant, whose: str) -> Scope:
        return Scope(None if whose == "all" else self.principal.id, grant.labels)

    def _grants_for(self, method: str) -> list[Grant]:
        if (granted := self._granted.get(method)) is None:
            granted = [grant for grant in self._grants if any(fnmatchcase(method, name) for name in grant.methods)]
            self._granted[method] = granted
        return granted

    def _roles(self) -> str:
        return f"its roles are {', '.join(self.principal.roles) or 'none'}"
