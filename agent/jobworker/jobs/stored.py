"""Decode the records and events that the job table stores, also those that an earlier version wrote."""

from typing import Any

import msgspec

from jobworker.jobs.record import JobRecord
from jobworker.jobs.record_v1 import RecordV1
from jobworker.model import JobEvent

_decode_record = msgspec.json.Decoder(JobRecord).decode
_decode_v1 = msgspec.json.Decoder(RecordV1).decode
_decode_event = msgspec.json.Decoder(JobEvent).decode


def decode_record(text: str) -> JobRecord:
    """Return a stored record, of format 1 or 2; raise msgspec.MsgspecError."""
    text = current(text)
    try:
        return _decode_record(text)
    except msgspec.ValidationError as error:
        try:
            return _decode_v1(text).upgraded()
        except msgspec.ValidationError:
            raise error from None


def decode_event(text: str) -> JobEvent:
    """Return a stored event; raise msgspec.MsgspecError."""
    return _decode_event(current(text))


def current(text: str) -> str:
    """Return the JSON of a record or event with the names of this version: a receipt's `method` was once `means`."""
    if '"means":' not in text:  # the usual case; a label of that name only costs the decoding below
        return text
    stored: dict[str, Any] = msgspec.json.decode(text)
    exit_ = stored["job"].get("exit") or {}
    for receipt in (stored.get("receipt"), exit_.get("receipt")):
        if receipt is not None and "means" in receipt:
            receipt["method"] = receipt.pop("means")
    return msgspec.json.encode(stored).decode()
