"""Model files: what they say of themselves, reading and writing them, and what bounds a file of others."""
