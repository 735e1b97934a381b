"""The report of a replay, for programs and for people."""
