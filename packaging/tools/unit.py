"""Write the unit as `jw agent install --systemd` would, with the paths of the Debian package."""

import os
import sys
from pathlib import Path

from jobworker_cli.service import Systemd, unit_text

if __name__ == "__main__":
    os.environ.pop("JOBWORKER_HOME", None)  # of the builder
    text = unit_text(Systemd(), Path("/etc/jobworker/config.toml"), ["/opt/jobworker/bin/jw"])
    sys.stdout.write(text)
