"""A command under which an agent sees no cgroups, so that it sweeps /proc for the processes of a job."""

BLIND = ["unshare", "-m", "sh", "-c", 'umount -a -t cgroup2; exec "$@"', "sh"]  # as root
