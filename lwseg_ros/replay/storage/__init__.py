"""The files of a recording, MCAP or SQLite, read for what they hold, whatever an index or metadata.yaml says of them."""
