"""Between a library that writes to a path and the disk: errors are told."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Drain:
    """A named pipe whose contents a thread writes to a file. A context manager.

    For a library that writes to a path and neither tells of errors nor survives them. Who leaves the block has closed the pipe.
    """

    def __init__(self, path: Path, pipe: Path) -> None:
        self.pipe = pipe
        self._path = path
        self._error: OSError | None = None

    def __enter__(self) -> Drain:
        os.mkfifo(self.pipe)
        # Without blocking, as nobody writes yet; reading is to wait.
        self._reading = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        # Held open, so that the end comes with `finish`, and not before anybody has begun to write.
        self._writing = os.open(self.pipe, os.O_WRONLY)
        os.set_blocking(self._reading, True)
        self._thread = threading.Thread(target=self._copy, daemon=True, name="drain")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        os.close(self._reading)

    def check(self) -> None:
        """Raise the OSError at which writing stopped, if there was one."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait for the last bytes, once whoever wrote to the pipe has closed it; raises OSError as `check`."""
        self._end()
        self.check()

    def _end(self) -> None:
        if self._thread.is_alive():
            os.close(self._writing)
            self._thread.join()

    def _copy(self) -> None:
        try:
            with self._path.open("wb") as file:
                while part := os.read(self._reading, 1 << 20):
                    file.write(part)
        except OSError as error:
            self._error = error
            while os.read(self._reading, 1 << 20):
                pass
