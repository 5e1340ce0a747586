"""`screen.read` and `log.sizes`, as a caller has them."""

from typing import TYPE_CHECKING

from jobworker.client.blocking import connect

if TYPE_CHECKING:
    from tests.support.wire import Wire

    from jobworker.testing.agent import RunningAgent


async def test_a_screen(wire: "Wire") -> None:
    """Text, cursor, title, alternate screen, and where the log goes on; it stays when the job has ended."""
    script = r"printf 'one\r\ntwo\033]2;a title\007\033[?1049h\033[H\033[31mup\033[2;5H'; read x; "
    script += r"printf 'down\033[?1049l'"
    run = await wire.ask("job.run", spec={"shell": script, "tty": {"rows": 3, "cols": 20}})
    job = run["job"]["id"]
    await wire.until(run["subscription"], b"[2;5H")
    screen = await wire.ask("screen.read", id=job)
    cursor = {"row": 1, "col": 4, "visible": True}
    expected = {"id": job, "exact": True, "rows": 3, "cols": 20, "cursor": cursor, "title": "a title"}
    expected |= {"alternate": True, "text": ["up", "", ""], "offset": screen["offset"]}
    assert screen == expected
    drawn = await wire.ask("screen.read", id=job, ansi=True)
    assert "\x1b[1H\x1b[0;31mup" in drawn["ansi"]
    assert {**drawn, "ansi": ""} == {**expected, "ansi": ""}
    await wire.ask("stdin.write", id=job, data="\n")
    await wire.follow(run["subscription"])
    screen = await wire.ask("screen.read", id=job)
    assert (screen["text"], screen["alternate"]) == (["one", "two", ""], False)
    assert screen["offset"] == (await wire.ask("job.status", id=job))["log"]["bytes"]


async def test_sizes(wire: "Wire") -> None:
    """Each with the offset at which it was changed, before the job starts too; the screen has the last one."""
    script = r"stty -echo -opost; printf '0123456789'; read x; printf abcdefghij; read x"
    run = await wire.ask("job.run", spec={"shell": script, "tty": {"rows": 4, "cols": 10}})
    job = run["job"]["id"]
    await wire.until(run["subscription"], b"9")
    for rows, cols in ((9, 9), (5, 6)):
        await wire.ask("job.resize", id=job, rows=rows, cols=cols)
    await wire.ask("stdin.write", id=job, data="\n")
    await wire.until(run["subscription"], b"j")
    sizes = (await wire.ask("log.sizes", id=job))["sizes"]
    assert [(size["offset"], size["rows"], size["cols"]) for size in sizes] == [(0, 4, 10), (10, 5, 6)]
    assert (sizes[0]["time"], bool(sizes[1]["time"])) == (None, True)
    screen = await wire.ask("screen.read", id=job)
    assert (screen["rows"], screen["cols"], screen["text"]) == (5, 6, ["012345", "abcdef", "ghij", "", ""])
    await wire.ask("job.stop", id=job)


async def test_what_has_no_screen(wire: "Wire") -> None:
    """A job without a terminal, one that is too large, a job that is not there, unknown params."""
    job = await wire.create(argv=["true"])
    for method in ("screen.read", "log.sizes"):
        error = await wire.refused(method, id=job)
        assert (error["code"], "tty" in error["data"]["hint"]) == (40901, True)
        assert (await wire.refused(method, id="0" * 12))["code"] == 40401
    large = await wire.create(argv=["true"], tty={"rows": 65535, "cols": 65535})
    error = await wire.refused("screen.read", id=large)
    assert (error["code"], "65535 rows" in error["message"]) == (40901, True)
    small = await wire.create(argv=["true"], tty=True)
    assert (await wire.ask("screen.read", id=small))["text"] == [""] * 24, "it was not started"
    assert (await wire.refused("screen.read", id=small, ansi="yes"))["code"] == -32602
    assert (await wire.refused("screen.read", id=small, columns=3))["code"] == -32602
    assert (await wire.ask("agent.info"))["capabilities"]["screen"] == 65536


async def test_in_the_clients(wire: "Wire", shared: "RunningAgent") -> None:
    """Typed, in both."""
    run = await wire.ask("job.run", spec={"argv": ["printf", "hello"], "tty": True})
    await wire.follow(run["subscription"])
    job = run["job"]["id"]
    async with shared.client() as client:
        screen, sizes = await client.screen(job, ansi=True), await client.sizes(job)
    with connect(shared.address, token=shared.token, ca=shared.ca) as blocking:
        assert (blocking.screen(job, ansi=True), blocking.sizes(job)) == (screen, sizes)
    assert (screen.text[0], screen.cursor.col, sizes.sizes[0].cols) == ("hello", 5, 80)


async def test_a_flood_delays_no_other_call(wire: "Wire") -> None:
    """While the screen of a job with much costly output is read, others are answered, and their screens too."""
    script = r"i=0; while [ $i -lt 200 ]; do printf '\033[2J\033[3;3Hxxx\033[9999b'; i=$((i+1)); done"
    flood = await wire.ask("job.run", spec={"shell": f"{script} | tee -a /dev/tty | cat", "tty": True})
    other = await wire.ask("job.run", spec={"argv": ["printf", "hello"], "tty": True})
    await wire.follow(other["subscription"])
    costly = await wire.begin("screen.read", id=flood["job"]["id"])
    assert (await wire.ask("screen.read", id=other["job"]["id"]))["text"][0] == "hello"
    assert "result" in await wire.answer(costly)
    await wire.follow(flood["subscription"])
