"""Nothing secret, and nothing that belongs elsewhere, is in the repository."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_key_and_no_token_is_tracked() -> None:
    begin, end = b"-----" + b"BEGIN", b"PRIVATE " + b"KEY-----"  # in two halves: this file is tracked as well
    for path in tracked():
        assert path.suffix not in {".key", ".pem", ".token", ".p12"}, path
        content = path.read_bytes()
        assert not (begin in content and end in content), path


def test_git_ignores_what_is_written_to_certs() -> None:
    """`jw cert init --out certs` must not be one `git add` away from a leak."""
    ignored = subprocess.run(["git", "check-ignore", "-q", "certs/ca.key"], cwd=ROOT, check=False)
    assert ignored.returncode == 0
    assert subprocess.run(["git", "check-ignore", "-q", "certs/README.md"], cwd=ROOT, check=False).returncode == 1
