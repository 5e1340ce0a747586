"""Run `jw` as ``python -m jobworker_cli``."""

from jobworker_cli.app import main

main()
