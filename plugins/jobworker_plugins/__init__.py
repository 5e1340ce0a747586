"""The plugins that come with jobworker: one file each, with the same hooks as any other plugin, to be copied."""
