"""The image of packaging/container, built by buildah without an engine, and a container whose root it is."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.container import Container
from tests.support.container import lacking as no_container
from tests.vm.recipe import SUITE, cache, sources

ROOT = Path(__file__).parents[2]
BASE = "localhost/debian"
IMAGE = "localhost/jobworker"
# So that pip reaches the registry as it does on this host.
CERTIFICATES = ("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/etc/pip.conf")
# The image becomes the root, read-only, with what the container of the tests has, and its volume.
MOUNTS = """
image="{image}"
mount -o bind "$image" "$image"
mount -o remount,bind,ro "$image"
for name in dev proc sys tmp; do mount --rbind "$root/$name" "$image/$name"; done
mount -o bind "$base/state" "$image/data"
mount -o bind,ro "$base/config.toml" "$image/etc/jobworker/config.toml"
root="$image"
"""


def lacking() -> str:
    """Return why no image can be built or run here; empty if that works."""
    missing = [tool for tool in ("buildah", "mmdebstrap") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else no_container()


class Builder:
    """buildah with a store of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        store = ["--root", str(folder / "images"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        self._command = ["buildah", *store]
        self._folder = folder

    def run(self, *words: str) -> str:
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def build(self) -> None:
        """Build the image on Debian, which is made here, as no registry of images is in reach."""
        context = self._folder / "base"
        context.mkdir()
        (context / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        shutil.copy(_debian(), context / "base.tar")
        self.run("build", "--isolation", "chroot", "--quiet", "--tag", BASE, str(context))
        volumes = [f"--volume={path}:{path}:ro" for path in CERTIFICATES if os.path.exists(path)]
        words = ["--isolation", "chroot", "--format", "docker", "--quiet", "--build-arg", f"BASE={BASE}"]
        self.run("build", *words, *volumes, "--tag", IMAGE, "--file", "packaging/container/Containerfile", ".")

    def settings(self) -> dict[str, Any]:
        """Return what the image has for an engine: user, environment, command, health check."""
        found: dict[str, Any] = json.loads(self.run("inspect", IMAGE))["Docker"]["config"]
        return found

    def root(self) -> Path:
        """Return a folder with the image's files."""
        return Path(self.run("mount", self.run("from", "--pull-never", IMAGE)))


def _debian() -> Path:
    """Return a tar file with Debian and its Python, made once (a minute)."""
    made = cache() / f"container-base-{SUITE}.tar"
    if not made.exists():
        cache().mkdir(parents=True, exist_ok=True)
        temporary = made.with_name(f"{os.getpid()}-{made.name}")
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--include=python3,python3-venv",
            SUITE,
            str(temporary),
        ]
        subprocess.run([*command, *sources()], check=True)
        temporary.rename(made)
    return made


def container(base: Path, image: Path, settings: dict[str, Any]) -> Container:
    """Return a container that is started as an engine would start the image, with --read-only."""
    env = dict(line.split("=", 1) for line in settings["Env"])
    uid = int(settings["User"].partition(":")[0])
    (base / "config.toml").write_text('[server]\nhost = "0.0.0.0"\nport = 0\n')
    return Container(
        base,
        uid=uid,
        env=env,
        mounts=MOUNTS.format(image=image),
        command=settings["Cmd"],
        home=env["JOBWORKER_HOME"],
    )
