"""`jw agent backup` and `jw agent restore`: all of a state folder, on another host, from an agent that runs."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.backups import differences, log_of, rows

from jobworker.backup import archive, create, restore
from jobworker.client import connect
from jobworker.errors import InvalidState, JobworkerError
from jobworker.jobs import snapshot
from jobworker.linux.proc import boot_id
from jobworker.logs.reader import Chunk
from jobworker.model import Job, JobSpec, State
from jobworker.paths import Home
from jobworker.testing import RunningAgent

Members = list[tuple[tarfile.TarInfo, bytes]]
ELSEWHERE = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "-"]
CONFIG = '[server]\nnames = ["first.example"]\n'
SHELLS = (
    "echo out; echo err >&2; echo more",
    "head -c 300000 /dev/zero; exit 3",
    "seq 100000; kill -TERM $$",
    ":",
)


@pytest.fixture(scope="module")
def origin(start_agent: Callable[..., RunningAgent]) -> RunningAgent:
    """An agent with jobs of all kinds: ended, with a log that has dropped bytes, running, created."""
    agent = start_agent(config=CONFIG)

    async def fill() -> None:
        async with agent.client() as client:
            specs = [JobSpec(shell=shell, labels={"number": str(number)}) for number, shell in enumerate(SHELLS)]
            specs.append(JobSpec(shell="seq 300000", log={"max_bytes": "200k"}))  # type: ignore[arg-type]
            for spec in specs:
                job = await client.create(spec, key=str(spec.shell))
                await client.start(job.id)
                await client.wait(job.id)
            running = await client.create(JobSpec(shell="head -c 100000 /dev/zero; exec sleep 1000", name="runs"))
            await client.start(running.id)
            while not (agent.home.logs / running.id / "index").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await client.create(JobSpec(argv=["true"], name="created"))
            (agent.home.path / "token").write_text((await client.create_token("ann", ["writer"])).token)

    asyncio.run(fill())
    return agent


@pytest.fixture(scope="module")
def written(origin: RunningAgent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backup") / "agent.tgz"
    create.create(origin.home, file, logs=True, keys=True)
    return file


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[RunningAgent]:
    """An agent to be started on the state folder that is restored, on a host of another name."""
    config = CONFIG.replace("first", "second")
    agent = RunningAgent(Home(tmp_path / "restored"), config, under=ELSEWHERE if os.geteuid() == 0 else [])
    yield agent
    if agent.process is not None:
        asyncio.run(agent.clean())


def test_restore_on_another_host(origin: RunningAgent, elsewhere: RunningAgent, tmp_path: Path) -> None:
    """Jobs, statuses, events, logs and tokens are those of before; what ran is lost, with the reason."""
    file = tmp_path / "agent.tgz"
    done = origin.jw("agent", "backup", str(file), "--json")
    assert (done.returncode, "1 job had not ended" in done.stderr) == (0, True), done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(done.stdout)["jobs"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["agent.tgz"], "nothing else is left"
    revision = int(str(rows(origin.home, "SELECT max(revision) FROM events")[0][0]))
    verified = origin.jw("agent", "backup", "--verify", str(file))
    assert (verified.returncode, "is complete: 7 jobs of" in verified.stdout) == (0, True)
    restored = origin.jw("agent", "restore", str(file), "--home", str(elsewhere.home.path))
    assert (restored.returncode, "is restored: 7 jobs of" in restored.stdout) == (0, True), restored.stderr
    assert {path.stat().st_mode & 0o077 for path in elsewhere.home.path.rglob("*")} == {0}
    elsewhere.start()
    try:
        asyncio.run(compare(origin, elsewhere))
        assert differences(origin.home, elsewhere.home, revision) == []
    finally:
        elsewhere.end()
    os.kill(asyncio.run(jobs_of(origin))["runs"].pid or 0, 0)  # the process of the first agent runs on


async def jobs_of(agent: RunningAgent) -> dict[str, Job]:
    async with agent.client() as client:
        return {job.name or job.labels["number"]: job for job in await client.list() if job.name or job.labels}


async def compare(origin: RunningAgent, elsewhere: RunningAgent) -> None:
    before, after = await jobs_of(origin), await jobs_of(elsewhere)
    lost, ran = after.pop("runs"), before.pop("runs")
    assert after == before
    assert (lost.id, lost.state) == (ran.id, State.LOST)
    assert lost.exit is not None
    assert lost.exit.message.startswith("it ran on ")
    assert "when the backup was made" in lost.exit.message
    assert (lost.log.bytes, lost.log.truncated) == (100000, False)
    assert log_of(elsewhere.home.logs / lost.id) == log_of(origin.home.logs / ran.id)
    secret = (origin.home.path / "token").read_text()
    async with connect(elsewhere.address, token=secret, ca=elsewhere.ca) as ann:
        assert (await ann.whoami()).id == "token:ann"
        assert "second.example" in (await ann.info()).tls["names"]  # type: ignore[index]
    async with elsewhere.client() as client:
        key = await client.create(JobSpec(shell=SHELLS[0], labels={"number": "0"}), key=SHELLS[0])
        assert key.id == before["0"].id, "the same key is the same job"
        assert (await client.start(after["created"].id)).started_at is not None
        await client.wait(after["created"].id)
        with pytest.raises(InvalidState):
            await client.start(lost.id)
        await client.delete(after["created"].id)
    assert (origin.home.tls / "ca.key").read_bytes() == (elsewhere.home.tls / "ca.key").read_bytes()


def test_every_status_has_its_log(origin: RunningAgent, tmp_path: Path) -> None:
    """A backup while jobs begin, write, end and are deleted: of each that had ended, all of its output is there."""

    async def busy(stop: asyncio.Event, number: int) -> None:
        async with origin.client() as client:
            while not stop.is_set():
                job = await client.create(JobSpec(shell=f"seq {number * 1000}"))
                await client.start(job.id)
                await client.wait(job.id)
                if number % 2:
                    await client.delete(job.id)

    async def load() -> None:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(busy(stop, number)) for number in range(1, 7)]
        for number in range(3):
            await asyncio.to_thread(create.create, origin.home, tmp_path / f"{number}.tgz", logs=True, keys=False)
        stop.set()
        await asyncio.gather(*tasks)

    asyncio.run(load())
    for number in range(3):
        home = Home(tmp_path / str(number))
        restore.restore(tmp_path / f"{number}.tgz", home)
        assert not (home.tls / "ca.key").exists()
        ended = rows(home, "SELECT id, record FROM jobs WHERE NOT live AND state = 'exited'")
        for job, record in ended:
            status = json.loads(str(record))["job"]
            log = log_of(home.logs / str(job))
            assert (log[-1].end if log else 0) == status["log"]["bytes"], status
            if status["spec"].get("shell", "").startswith("seq ") and not status["spec"].get("log"):
                lines = int(status["spec"]["shell"].split()[1].rstrip(";"))
                text = b"".join(piece.data for piece in log if isinstance(piece, Chunk))
                assert text == b"".join(b"%d\n" % line for line in range(1, lines + 1))


def test_what_happens_meanwhile(
    origin: RunningAgent, elsewhere: RunningAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the table was copied, a job is deleted: it is in no part of the backup; another ends: with its code."""
    gate = tmp_path / "gate"
    deleted = origin.jw("run", "-q", "-d", "echo", "gone").stdout.strip()
    script = f"echo one; while [ ! -e {gate} ]; do sleep 0.05; done; echo two; exit 7"
    ends = origin.jw("run", "-q", "-d", "sh", "-c", script).stdout.strip()
    origin.jw("wait", deleted)
    copy = snapshot.copy

    def then(source: Path, target: Path) -> None:
        copy(source, target)
        gate.touch()
        assert origin.jw("rm", deleted).returncode == 0
        assert origin.jw("wait", ends).returncode == 7

    monkeypatch.setattr(snapshot, "copy", then)
    file = tmp_path / "meanwhile.tgz"
    create.create(origin.home, file, logs=True, keys=True)
    restore.restore(file, elsewhere.home)
    for table in ("SELECT id FROM jobs", "SELECT job FROM events"):
        assert (deleted,) not in rows(elsewhere.home, table)
    elsewhere.start()
    ended = json.loads(elsewhere.jw("status", "--json", ends).stdout)
    assert (ended["state"], ended["exit"]["code"], ended["log"]["bytes"]) == ("exited", 7, 8)
    assert elsewhere.jw("logs", ends).stdout == "one\ntwo\n"
    assert ended["exit"] == json.loads(origin.jw("status", "--json", ends).stdout)["exit"]


def test_an_agent_that_was_killed(origin: RunningAgent, tmp_path: Path) -> None:
    """No agent runs, and its last changes are in the log of SQLite: they are in the backup."""
    home = Home(tmp_path / "home")
    agent = RunningAgent(home)
    agent.start()
    done = agent.jw("run", "echo", "last")
    agent.kill()
    assert (done.returncode, done.stdout) == (0, "last\n")
    file = tmp_path / "b.tar.gz"
    backup = agent.jw("agent", "backup", str(file), "--without-logs")
    assert backup.returncode == 0, backup.stderr
    found = restore.verify(file)
    assert (found.jobs, found.manifest["logs"]) == (1, False)
    asyncio.run(agent.clean())


def changed(file: Path, target: Path, change: "Callable[[Members], object]") -> Path:
    """Write a copy of a backup whose members were changed."""
    with tarfile.open(file) as tar:
        found = [(info, (tar.extractfile(info) or io.BytesIO()).read()) for info in tar.getmembers()]
    change(found)
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, data in found:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return target


def named(name: str, kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b"x" if kind == tarfile.REGTYPE else b""


def lying(found: Members) -> None:
    info, data = next(each for each in found if each[0].name == "journal")
    info.pax_headers = {archive.SEGMENTS: f"-5+{len(data)} 7"}


def later(found: Members) -> None:
    info, data = found[0]
    found[0] = (info, json.dumps(json.loads(data) | {"format": 2, "version": "9.9"}).encode())


def altered(found: Members) -> None:
    number = next(number for number, each in enumerate(found) if each[0].name == "tokens.json")
    found[number] = (found[number][0], found[number][1].replace(b"writer", b"admins"))


TAMPERED: dict[str, tuple[Callable[[Members], object], str]] = {
    "traversal": (lambda found: found.insert(1, named("../evil")), "'../evil' is no file of a state folder"),
    "absolute": (lambda found: found.insert(1, named("/tmp/evil")), "'/tmp/evil' is no file of a state folder"),
    "inner": (lambda found: found.insert(1, named("logs/../evil")), "is no file of a state folder"),
    "not ours": (lambda found: found.insert(1, named("local.token")), "is no file of a state folder"),
    "link": (lambda found: found.insert(1, named("journal", tarfile.SYMTYPE)), "'journal' is no file"),
    "hard link": (lambda found: found.insert(1, named("journal", tarfile.LNKTYPE)), "'journal' is no file"),
    "device": (lambda found: found.insert(1, named("journal", tarfile.CHRTYPE)), "'journal' is no file"),
    "folder": (lambda found: found.insert(1, named("logs", tarfile.DIRTYPE)), "'logs' is no file"),
    "twice": (lambda found: found.insert(1, named("journal")), "'journal' is no file, or there twice"),
    "after the end": (lambda found: found.append(named("journal.x")), "comes after the digests"),
    "one less": (lambda found: found.pop(1), "is damaged: journal differ"),
    "altered": (altered, "is damaged: tokens.json differ"),
    "lying": (lying, "its parts '-5+"),
    "later": (later, "is a backup of format 2; expected at most 1"),
    "no manifest": (lambda found: found.pop(0), "is no backup of jobworker: it begins with"),
    "no digests": (lambda found: found.pop(), "ends too early"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_backup(case: str, written: Path, tmp_path: Path) -> None:
    """It is refused, by a restore and by a check, and nothing of it is left, inside or outside of the folder."""
    change, reason = TAMPERED[case]
    file = changed(written, tmp_path / "tampered.tgz", change)
    for read in (restore.verify, lambda file: restore.restore(file, Home(tmp_path / "home"))):
        with pytest.raises(archive.BackupError) as refused:
            read(file)
        assert reason in refused.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["tampered.tgz"]


def test_a_cut_or_damaged_backup(written: Path, tmp_path: Path) -> None:
    """Whatever is missing at its end, and whichever byte was flipped: it is refused, and nothing is left."""
    whole = written.read_bytes()
    cuts = [whole[: len(whole) * part // 16] for part in range(16)]
    flips = [bytearray(whole) for _ in range(16)]
    for number, flip in enumerate(flips):
        flip[len(flip) * number // 16 + 12] ^= 0x55
    file, home = tmp_path / "cut.tgz", tmp_path / "home"
    for data in (*cuts, *map(bytes, flips), b"no archive", gzip.compress(bytes(100000))):
        file.write_bytes(data)
        with pytest.raises(archive.BackupError):
            restore.restore(file, Home(home))
        assert not home.exists()
    with pytest.raises(archive.BackupError, match="No such file"):
        restore.restore(tmp_path / "none", Home(home))


def test_a_table_of_a_later_version(written: Path, tmp_path: Path) -> None:
    """The digests are right, and the table is of an agent that is newer: refused, as its agent would be."""

    def newer(found: Members) -> None:
        number = next(number for number, each in enumerate(found) if each[0].name == "jobs.db")
        table = tmp_path / "jobs.db"
        table.write_bytes(found[number][1])
        with sqlite3.connect(table) as db:
            db.execute("PRAGMA user_version=99")
        db.close()
        data = table.read_bytes()
        table.unlink()
        found[number] = (found[number][0], data)
        digests = json.loads(found[-1][1]) | {"jobs.db": hashlib.sha256(data).hexdigest()}
        found[-1] = (found[-1][0], json.dumps(digests).encode())

    file = changed(written, tmp_path / "newer.tgz", newer)
    with pytest.raises(JobworkerError, match="was written by a later version"):
        restore.restore(file, Home(tmp_path / "home"))
    assert [path.name for path in tmp_path.iterdir()] == ["newer.tgz"]


def test_where_it_is_refused(origin: RunningAgent, written: Path, tmp_path: Path) -> None:
    """Over an agent that runs, over a folder with files, without a state folder, over another agent."""
    over = origin.jw("agent", "restore", str(written))
    assert over.returncode == 6
    assert over.stderr.startswith(f"jw: error: {origin.home.path}: an agent runs on this state folder, and nothing")
    used = tmp_path / "used"
    used.mkdir(mode=0o700)
    (used / "file").touch()
    done = origin.jw("agent", "restore", str(written), "--home", str(used))
    assert "this state folder is not empty, and nothing was restored" in done.stderr
    assert [path.name for path in used.iterdir()] == ["file"]
    nothing = RunningAgent(Home(tmp_path / "nothing")).jw("agent", "backup", str(tmp_path / "b"))
    assert (nothing.returncode, "there is nothing to back up" in nothing.stderr) == (6, True)
    remote = origin.jw("--address", origin.address, "agent", "backup", str(tmp_path / "b"))
    assert "jw agent backup is for the local agent" in remote.stderr
    assert not (tmp_path / "b").exists()
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    restore.restore(written, Home(empty))
    assert (empty / "jobs.db").exists()
    assert not (empty / "agent.lock").exists()


def test_a_full_disk(origin: RunningAgent, written: Path, tmp_path: Path, mounted: Callable[[str], Path]) -> None:
    """A backup or a restore without room leaves no file, and the last backup as it was."""
    folder = mounted("size=256k")
    last = folder / "agent.tgz"
    last.write_bytes(b"of yesterday")
    for room in (0, 60, 100, 140, 180):  # it fails at one step after the other
        (folder / "filler").write_bytes(bytes(room << 10))
        done = origin.jw("agent", "backup", str(last))
        (folder / "filler").unlink()
        assert (done.returncode, "No space left on device: no backup was written" in done.stderr) == (1, True), (
            done.stderr
        )
        assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("agent.tgz", b"of yesterday")]
    restored = origin.jw("agent", "restore", str(written), "--home", str(folder / "home"))
    assert (restored.returncode, "No space left on device: nothing was restored" in restored.stderr) == (6, True)
    assert not (folder / "home").exists()


def test_no_process_of_this_host_is_taken_for_one_of_the_backup(written: Path, tmp_path: Path) -> None:
    """The boot id of this host is nowhere in what is restored, so all pids in it count as of another boot."""
    home = Home(tmp_path / "home")
    restore.restore(written, home)
    assert boot_id().encode() not in home.journal.read_bytes()
    live = rows(home, "SELECT record FROM jobs WHERE live")
    assert len(live) == 1
    assert boot_id() not in str(live) + str(rows(home, "SELECT value FROM meta"))
    shutil.rmtree(home.path)
