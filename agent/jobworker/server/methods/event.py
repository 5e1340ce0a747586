"""`event.*`: subscribe to events of jobs."""

from functools import partial

import msgspec

from jobworker.auth.access import Requires
from jobworker.results import EventsSubscribed
from jobworker.server.dispatch import Call, method
from jobworker.server.event_subscription import EventSubscription


class Subscribe(msgspec.Struct, forbid_unknown_fields=True):
    from_: int | None = msgspec.field(default=None, name="from")


class Unsubscribe(msgspec.Struct, forbid_unknown_fields=True):
    subscription: str


@method("event.subscribe", Subscribe, Requires.READ)
def subscribe(call: Call, params: Subscribe) -> EventsSubscribed:
    """Send the events after a revision; without one, from now on."""
    cursor = call.session.services.jobs.events(params.from_)
    revision = cursor.revision
    scopes = call.permissions.scopes(call.method)
    make = partial(EventSubscription, cursor=cursor, scopes=scopes, turn=call.session.event_turn)
    subscription = call.session.subscribe(make, cursor)
    call.after.append(subscription.start)
    return EventsSubscribed(subscription.name, revision)


@method("event.unsubscribe", Unsubscribe, Requires.READ)
async def unsubscribe(call: Call, params: Unsubscribe) -> bool:
    """End a subscription; no notification of it follows the answer."""
    await call.session.unsubscribe(params.subscription, EventSubscription)
    return True
