"""`job.list`: a page is bounded in jobs and in bytes, and the pages together are all."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire

LARGE = ["true", *(["x" * 100_000] * 4)]


async def test_pages_of_large_specs(wire: "Wire", shared: "RunningAgent") -> None:
    """A thousand specs of a megabyte are a thousand pages, not one answer of a gigabyte."""
    made = [await wire.create(argv=LARGE, labels={"size": "large"}) for _ in range(7)]
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    pages = 0
    while True:
        page = await wire.ask("job.list", labels={"size": "large"}, limit=1000, **cursor)
        pages += 1
        assert 1 <= len(page["jobs"]) <= 2
        seen += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert pages == 4
    assert seen == made[::-1]
    async with shared.client() as client:
        assert [job.id for job in await client.list(labels={"size": "large"})] == seen
        assert [job.id for job in await client.list(labels={"size": "large"}, limit=5)] == seen[:5]
    for job in made:
        await wire.ask("job.delete", id=job)
