"""What keeper, pump and agent write and read on disk, with the standard library alone."""
