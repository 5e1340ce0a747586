"""Secrets shown to the agent in every way there is: where they are afterwards."""

import base64
import contextlib
import json
from pathlib import Path

from tests.hostile.messages import request
from tests.hostile.outcome import Outcome
from tests.hostile.raw import TEXT, Raw, frame
from tests.hostile.target import Target

from jobworker.protocol import encode_bearer

PASSWORD = "pass-9f1c3e"
VALUE = "value-7b2d4a"
NUMBER = 918273645546372


async def look(path: Path) -> Outcome:
    outcome = Outcome("secrets")
    async with Target(path, outcome, config='[agent]\nlog_level = "debug"\n') as target:
        token = await target.token("teller", "admin")
        target.secrets |= {PASSWORD, f"jw1_{PASSWORD}"}
        target.values |= {VALUE, str(NUMBER)}
        await _at_the_upgrade(target, token)
        await _as_a_login(target, token)
        await _in_specs(target, token)
        files = [name for name, _ in target.files()]
    outcome.notes.append(f"{len(target.secrets | target.values)} secrets were looked for in {len(files)} files")
    return outcome


async def _at_the_upgrade(target: Target, token: str) -> None:
    basic = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
    target.secrets |= {basic, encode_bearer(token), encode_bearer(PASSWORD)}
    for headers in (
        [("Authorization", f"Bearer jw1_{PASSWORD}")],
        [("Authorization", f"Basic {basic}")],
        [("Authorization", PASSWORD)],
        [("Authorization", f"{PASSWORD} x")],
        [("Sec-WebSocket-Protocol", encode_bearer(PASSWORD))],
        [("Sec-WebSocket-Protocol", f"base64url.bearer.jobworker.{PASSWORD}!")],
        [("Authorization", f"Bearer {token}"), ("Sec-WebSocket-Protocol", encode_bearer(token))],
        [("Authorization", f"Bearer {token}"), ("Sec-WebSocket-Version", "99")],
        [("Authorization", f"Bearer {token}"), ("Origin", "https://evil.example")],
        [("Cookie", f"token={token}")],
    ):
        raw = await Raw.open(target.agent)
        await raw.upgrade(target.agent, headers)
        raw.drop()
        target.outcome.cases += 1
    for line in (f"GET /rpc?token={token} HTTP/1.1", f"GET /{token} HTTP/1.1", f"GET /rpc {token}", token):
        raw = await Raw.open(target.agent)
        await raw.upgrade(target.agent, line=line)
        raw.drop()
        target.outcome.cases += 1


async def _as_a_login(target: Target, token: str) -> None:
    for params in (
        {"token": f"jw1_{PASSWORD}"},
        {"token": [token]},
        {"username": "somebody", "password": PASSWORD},
        {"username": "somebody", "password": [PASSWORD]},
        {"token": token, "password": PASSWORD},
        {PASSWORD: token},
        {"token": token},
    ):
        raw = await Raw.upgraded(target.agent)
        await raw.text(json.dumps(request("auth.login", params)))
        raw.drop()
        target.outcome.cases += 1
    raw = await Raw.upgraded(target.agent)
    await raw.say(frame(TEXT, json.dumps(request(token, token)).encode()))
    await raw.closed()
    raw = await Raw.upgraded(target.agent, token)
    await raw.text(json.dumps(request("auth.login", {"token": token, "password": PASSWORD})))
    await raw.text(json.dumps(request("token.revoke", {"name": {"x": PASSWORD}})))
    raw.drop()


async def _in_specs(target: Target, token: str) -> None:
    """Values of an environment are in the record of the job, as they should be, and nowhere else."""
    raw = await Raw.upgraded(target.agent, token)
    for spec in (
        {"argv": ["true"], "env": {"SECRET": VALUE}},
        {"argv": ["/no/such"], "env": {"SECRET": VALUE}},
        {"argv": ["true"], "env": f"SECRET={VALUE}"},
        {"argv": ["true"], "env": {"SECRET": [VALUE]}},
        {"argv": ["true"], "env": {"SECRET": NUMBER}},
        {"argv": ["true"], "env": [VALUE]},
        {"argv": ["true"], "env": {"SECRET": f"{VALUE}\0"}},
        {"argv": ["true"], "cwd": VALUE},
        {"argv": ["true"], "stop": {"options": {"secret": VALUE}}},
        {"argv": ["true"], "timeout_policies": [{"policy": "total", "options": {"limit": VALUE}}]},
        {"argv": ["sleep", "1000"], "env": {"SECRET": VALUE}},
    ):
        answer = await raw.text(json.dumps(request("job.run", {"spec": spec, "key": None})))
        target.outcome.cases += 1
        if "result" in answer:
            job = answer["result"]["job"]["id"]
            for method, more in (
                ("job.explain", {}),
                ("job.update", {"labels": VALUE}),
                ("job.stop", {"stop": VALUE}),
            ):
                await raw.text(json.dumps(request(method, {"id": job} | more)))
            with contextlib.suppress(KeyError):
                await raw.text(json.dumps(request("job.stop", {"id": job})))
    raw.drop()
