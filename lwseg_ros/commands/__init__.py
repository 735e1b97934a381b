"""One file a subcommand of `lwseg`."""
