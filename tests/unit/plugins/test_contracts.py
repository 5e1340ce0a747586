"""Our own plugins pass the contracts that everybody's must pass."""

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.authority import Authority

from jobworker.interfaces import Credentials, Principal
from jobworker.testing import (
    AuthorizerContract,
    AuthProviderContract,
    StopStrategyContract,
    TimeoutPolicyContract,
    load,
)
from jobworker.tokens import TokenFile
from jobworker_plugins import (
    command,
    cpu,
    deadline,
    graceful,
    idle,
    kill,
    ladder,
    mtls,
    roles,
    token,
    total,
    waiting,
)
from jobworker_plugins import (
    input as input_,
)

_kept = TemporaryDirectory(prefix="jobworker-contracts-")  # what classes are made with is there before any fixture
FOLDER = Path(_kept.name)
TOKEN = TokenFile(FOLDER / "tokens.json").create("ann", ["writer"], ["writer"])
AUTHORITY = Authority(FOLDER / "authority")


def certificate(*cn: str) -> Credentials:
    pem = AUTHORITY.issue(*cn).cert.read_text()
    return Credentials("certificate", certificate=ssl.PEM_cert_to_DER_cert(pem))


QUICK = {"steps": [{"signal": "INT", "grace": 0.05}, {"signal": "KILL"}]}


class TestGraceful(StopStrategyContract):
    strategy = load(graceful).stop_strategies["graceful"]


class TestKill(StopStrategyContract):
    strategy = load(kill).stop_strategies["kill"]


class TestLadder(StopStrategyContract):
    strategy = load(ladder).stop_strategies["ladder"]
    accepted = ({}, QUICK)
    refused = ({"steps": []}, {"steps": [{"signal": "TERM"}]}, {"steps": [{"signal": "KILL", "grace": "soon"}]})
    quick = QUICK


class TestCommand(StopStrategyContract):
    strategy = load(command).stop_strategies["command"]
    accepted = ({"argv": ["true"]}, {"argv": ["true"], "timeout": 0.1} | QUICK)
    refused = ({}, {"argv": []}, {"argv": "true"}, {"argv": ["true"], "timeout": 0})
    quick = accepted[1]


class TestInput(StopStrategyContract):
    strategy = load(input_).stop_strategies["input"]
    accepted = ({}, {"line": "exit", "timeout": 0.1} | QUICK)
    refused = ({"line": 1}, {"timeout": 0}, {"steps": []})
    quick = accepted[1]


class TestWaiting(TimeoutPolicyContract):
    policy = load(waiting).timeout_policies["waiting"]
    accepted = ({"limit": 5}, {"limit": "2h", "answer": "y"}, {"limit": 5, "answer": ""})
    refused = ({}, {"limit": 0}, {"limit": 5, "answer": 1}, {"limit": 5, "answer": "y" * 4001})


class TestTotal(TimeoutPolicyContract):
    policy = load(total).timeout_policies["total"]
    accepted = ({"limit": 5}, {"limit": "2h"})
    refused = ({}, {"limit": 0}, {"limit": None})


class TestIdle(TimeoutPolicyContract):
    policy = load(idle).timeout_policies["idle"]
    accepted = ({"limit": 5}, {"limit": "2h", "cpu": True})
    refused = ({}, {"limit": -1}, {"limit": 5, "cpu": "yes"})


class TestCpu(TimeoutPolicyContract):
    policy = load(cpu).timeout_policies["cpu"]
    accepted = ({"limit": 5},)
    refused = ({}, {"limit": []})


class TestDeadline(TimeoutPolicyContract):
    policy = load(deadline).timeout_policies["deadline"]
    accepted = ({"at": "2030-01-31T12:00:00Z"},)
    refused = ({}, {"at": "noon"}, {"at": "2030-01-31T12:00:00"})


class TestToken(AuthProviderContract):
    provider = load(token, state=FOLDER).auth_providers["token"]
    accepted = (Credentials("bearer", token=TOKEN),)
    refused = (Credentials("bearer", token=TOKEN[:-1]), Credentials("bearer", token=f"{TokenFile.prefix}\ud800"))


class TestMtls(AuthProviderContract):
    provider = load(mtls, {"roles": {"alice": ["writer"]}}).auth_providers["mtls"]
    accepted = (certificate("alice"),)
    refused = (certificate("bob"), certificate("alice", "alice"))


class TestRoles(AuthorizerContract):
    authorizer = load(roles, {"mine": {"look": "own", "create": True}}).authorizers["roles"]
    known = (Principal("ann", "token", ["writer"]), Principal("bob", "jwt", ["mine", "no such role"]))
