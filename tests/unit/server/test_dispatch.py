"""The answers of the dispatcher, whatever a method returns."""

import json

from jobworker.server.dispatch import Batch, encode_answer


def test_a_result_that_json_cannot_hold() -> None:
    """It is an internal error of this call alone."""
    broken = {"jsonrpc": "2.0", "result": {"a": object()}, "id": 5}
    good = {"jsonrpc": "2.0", "result": 1, "id": 6}
    answer = json.loads(encode_answer(broken))
    assert (answer["id"], answer["error"]["code"]) == (5, 50001)
    batch = Batch()
    batch.add(broken)
    batch.add(good)
    first, second = json.loads(batch.answer() or b"")
    assert (first["id"], first["error"]["code"]) == (5, 50001)
    assert second == good
