"""`log.*`: subscribe and unsubscribe."""

from functools import partial
from typing import Any, Literal

import msgspec

from jobworker.errors import NotSupported, SubscriptionNotFound
from jobworker.server.access import Need
from jobworker.server.dispatch import Call, method
from jobworker.server.log_subscription import LogSubscription


class Subscribe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    offset: int = 0
    follow: bool = True
    encoding: Literal["auto", "base64"] = "auto"
    tail: Any = None
    since: Any = None
    streams: Any = None


class Unsubscribe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    subscription: str


@method("log.subscribe", Subscribe, Need.LOOK)
async def subscribe(call: Call, params: Subscribe) -> dict[str, Any]:
    for field in ("tail", "since", "streams"):
        if getattr(params, field) is not None:
            raise NotSupported(f"{field}: this version does not support it", field=field)
    jobs = call.session.services.jobs
    cursor = await jobs.cursor(params.id, params.offset, params.follow)
    make = partial(LogSubscription, job=params.id, cursor=cursor, encoding=params.encoding)
    subscription = call.session.subscribe(make, cursor)
    call.after.append(subscription.start)
    return {"subscription": subscription.name, "offset": params.offset}


@method("log.unsubscribe", Unsubscribe, Need.LOOK)
async def unsubscribe(call: Call, params: Unsubscribe) -> bool:
    subscription = call.session.subscriptions.get(params.subscription)
    if not isinstance(subscription, LogSubscription):
        raise SubscriptionNotFound(f"this connection has no subscription to a log {params.subscription[:80]!r}")
    await subscription.stop()
    return True
