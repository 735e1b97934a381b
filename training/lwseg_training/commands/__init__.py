"""The subcommands that training adds to `lwseg`."""
