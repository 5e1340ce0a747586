"""``python -m jobworker_cli`` is `jw`."""

from jobworker_cli.app import main

main()
