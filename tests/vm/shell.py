"""Run commands in a guest that has the code of a work tree, for whoever develops jobworker.

python -m tests.vm.shell 'jw run -- echo hello'           # boot, run, throw away
python -m tests.vm.shell --keep /tmp/guest 'uname -a'     # boot, run, and leave the guest running in that folder
python -m tests.vm.shell --keep /tmp/guest --user alice id   # the same guest again
python -m tests.vm.shell --keep /tmp/guest --code          # hand it the tree as it is now, without a reboot
python -m tests.vm.shell --keep /tmp/guest --end
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.vm.code import pack
from tests.vm.guest import Guest, GuestError
from tests.vm.recipe import TREE, build, missing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm.shell", description="Run commands in a guest that has the code of a work tree."
    )
    parser.add_argument("command", nargs="*", help="lines of bash, run one after the other")
    parser.add_argument("--tree", type=Path, default=TREE, help="the work tree whose code the guest gets")
    parser.add_argument("--user", default="root", help="root, alice or bob")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each command")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave the guest running, and use the one that runs"
    )
    parser.add_argument("--code", action="store_true", help="give the guest of --keep the code as it is now")
    parser.add_argument("--end", action="store_true", help="end the guest of --keep")
    arguments = parser.parse_args()
    if reason := missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        guest = Guest(folder, build(), folder / "code.tar")
        if arguments.end:
            guest.end()
            return 0
        if not (arguments.keep and guest.attach()):
            (folder / "disk.qcow2").unlink(missing_ok=True)
            pack(arguments.tree, folder / "code.tar")
            guest.boot()
            print(f"guest is up; console: {guest.console}, its port 7443 is 127.0.0.1:{guest.port}", file=sys.stderr)
            if arguments.keep:
                guest.leave()
        elif arguments.code:
            pack(arguments.tree, folder / "code.tar")
            guest.unpack()
        try:
            return _run(guest, arguments.command, arguments.user, arguments.timeout)
        finally:
            if not arguments.keep:
                guest.stop()


def _run(guest: Guest, commands: list[str], user: str, timeout: float) -> int:
    code = 0
    for command in commands:
        try:
            done = guest.run(command, user=user, timeout=timeout, check=False)
        except GuestError as error:
            print(error, file=sys.stderr)
            return 1
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        code = done.code or code
    return code


if __name__ == "__main__":
    sys.exit(main())
