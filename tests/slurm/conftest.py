"""One cluster for all tests of this folder, with nodes that are whole again before each test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.slurm.cluster import NODES, Cluster, missing


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    if why := missing():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="jw-slurm-"))  # short: the path of a socket is in it
    with Cluster(folder) as cluster:
        print(f"slurm nodes={len(NODES)} up={cluster.seconds:.1f}")
        yield cluster
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """The cluster with both nodes idle."""
    _cluster.mend()
    return _cluster
