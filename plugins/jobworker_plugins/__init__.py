"""The plugins that come with jobworker; they use the same door as everyone's, one file each, fit to be copied."""
