"""Who may do what: apart from who is calling, and in one place.

What a principal may do is data, a list of grants, that an authorizer gives once for a connection; here it
is read. A job that the caller may not see is as good as none.
"""

from collections.abc import Sequence
from enum import Enum
from fnmatch import fnmatchcase

from jobworker.errors import PermissionDenied
from jobworker.interfaces import Grant
from jobworker.jobs.scope import Scope, sees
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
    """What one principal may do."""

    def __init__(self, principal: Principal, grants: Sequence[Grant]) -> None:
        self.principal = principal
        self._grants = grants

    def require(self, method: str, requires: Requires) -> None:
        """Raise PermissionDenied for a method that no grant allows, whatever the job."""
        allowed = {
            Requires.ANONYMOUS: True,
            Requires.LOGIN: True,
            Requires.READ: bool(self.scopes(method)),
            Requires.CONTROL: bool(self.scopes(method)),  # the job decides
            Requires.CREATE: any(grant.create for grant in self._for(method)),
            Requires.ADMIN: self.is_admin(method),
        }
        if not allowed[requires]:
            raise PermissionDenied(f"{self.principal.name} may not {requires.value}: {self._roles()}")

    def is_admin(self, method: str) -> bool:
        """Whether a grant makes the principal an admin when it calls this method."""
        return any(grant.admin for grant in self._for(method))

    def require_control(self, method: str, job: JobSummary) -> None:
        """Raise PermissionDenied unless the principal controls a job that it sees."""
        mine = [grant for grant in self._for(method) if grant.control != "none"]
        if any(self._scope(grant, grant.control).holds(job.owner, job.labels) for grant in mine):
            return
        whose = f" (it belongs to {job.owner})" if mine else ""
        raise PermissionDenied(f"{self.principal.name} may not {Requires.CONTROL.value}{whose}: {self._roles()}")

    def require_create(self, method: str, labels: dict[str, str]) -> None:
        """Raise PermissionDenied for a job with labels with which the principal may have none."""
        grants = [grant for grant in self._for(method) if grant.create]
        if not any(Scope(None, grant.labels).holds("", labels) for grant in grants):
            wanted = " or ".join(str(dict(grant.labels)) for grant in grants)
            text = (
                f"{self.principal.name} may not create a job with the labels {str(labels)[:200]}; expected {wanted}"
            )
            raise PermissionDenied(text)

    def scopes(self, method: str) -> tuple[Scope, ...]:
        """Return which jobs the principal sees by a method."""
        return tuple(self._scope(grant, grant.look) for grant in self._for(method) if grant.look != "none")

    def sees(self, method: str, job: JobSummary) -> bool:
        return sees(self.scopes(method), job)

    def _scope(self, grant: Grant, whose: str) -> Scope:
        return Scope(None if whose == "all" else self.principal.id, grant.labels)

    def _for(self, method: str) -> list[Grant]:
        return [grant for grant in self._grants if any(fnmatchcase(method, one) for one in grant.methods)]

    def _roles(self) -> str:
        return f"its roles are {', '.join(self.principal.roles) or 'none'}"
