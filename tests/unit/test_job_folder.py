"""The job folder: what agent and runner write into it is found whole, and read by the other side."""

import os
from pathlib import Path

import pytest

from jobworker.formats import job_folder


def test_each_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Launch, claim, commands and answers; a path that is not UTF-8 keeps its bytes."""
    folder = str(tmp_path)
    for name in (job_folder.CONTROL, job_folder.ANSWERS):
        (tmp_path / name).mkdir()
    launch = {"tag": "jw-1", "id": "a1", "message": {"argv": ["caf\udce9"]}}
    job_folder.write_launch(folder, launch, owner=(os.getuid(), os.getgid()))
    assert job_folder.read_launch(folder) == {"v": 1, **launch}
    assert (tmp_path / job_folder.LAUNCH).stat().st_mode & 0o777 == 0o600
    for number in (10, 9, 1):
        job_folder.write_command(folder, number, {"op": "thaw"})
    assert job_folder.command_numbers(folder) == [1, 9, 10]
    assert job_folder.read_command(folder, 9) == {"op": "thaw"}
    assert job_folder.read_answer(folder, 9) is None
    job_folder.write_answer(folder, 9, {"delivered": 2})
    assert job_folder.read_answer(folder, 9) == {"delivered": 2}
    assert job_folder.answer_numbers(folder) == [9]


def test_a_job_is_claimed_once(tmp_path: Path) -> None:
    """The second claim is refused, and changes nothing."""
    folder = str(tmp_path)
    assert job_folder.read_claim(folder) is None
    job_folder.write_claim(folder, {"tag": "first"})
    with pytest.raises(FileExistsError):
        job_folder.write_claim(folder, {"tag": "second"})
    assert job_folder.read_claim(folder) == {"tag": "first"}


def test_a_heartbeat_keeps_its_size(tmp_path: Path) -> None:
    """It is overwritten in place: a shorter one leaves nothing of a longer one, and a torn one is none."""
    assert job_folder.read_heartbeat(str(tmp_path)) is None
    beats = [job_folder.encode_heartbeat(n, usage) for n, usage in ((1, {"memory": 1}), (2, {"x": "y" * 2000}))]
    assert {len(beat) for beat in beats} == {job_folder.HEARTBEAT_BYTES}
    (tmp_path / job_folder.HEARTBEAT).write_bytes(beats[0])
    assert job_folder.read_heartbeat(str(tmp_path)) == {"n": 1, "usage": {"memory": 1}}
    (tmp_path / job_folder.HEARTBEAT).write_bytes(beats[1])
    assert job_folder.read_heartbeat(str(tmp_path)) == {"n": 2, "usage": {}}
    (tmp_path / job_folder.HEARTBEAT).write_bytes(beats[0][:9])
    assert job_folder.read_heartbeat(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"v": 2, "tag": "t", "id": "a", "message": {}}', "version 2, expected 1"),
        ('{"v": 1, "tag": "t"}', "lacks id, message"),
        ("[]", "expected a JSON object"),
        ("{", "Expecting"),
    ],
)
def test_a_launch_of_another_form_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / job_folder.LAUNCH).write_text(text)
    with pytest.raises(ValueError, match=fault):
        job_folder.read_launch(str(tmp_path))
