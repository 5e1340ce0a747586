"""`screen.read`: what the terminal of a job shows."""

import msgspec
from msgspec import UNSET

from jobworker.auth.access import Requires
from jobworker.results import Screen, ScreenCursor
from jobworker.server.dispatch import Call, method


class Read(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    ansi: bool = False


@method("screen.read", Read, Requires.READ)
async def read(call: Call, params: Read) -> Screen:
    """Return the screen of a job with a terminal, after all of its output by now."""
    await call.seen(params.id)
    screens = call.session.services.jobs.screens
    await call.session.while_connected(screens.catch_up(params.id))  # may take seconds: not under the caller's lock
    picture = await call.session.read_in_turn(screens.read(params.id, ansi=params.ansi))
    return Screen(
        id=params.id,
        offset=picture.offset,
        exact=picture.exact,
        rows=picture.rows,
        cols=picture.cols,
        cursor=ScreenCursor(*picture.cursor, visible=picture.cursor_visible),
        title=picture.title,
        alternate=picture.alternate,
        text=picture.text,
        ansi=UNSET if picture.ansi is None else picture.ansi,
    )
