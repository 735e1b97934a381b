"""What the operating system gives and takes: files, and text on a terminal."""
