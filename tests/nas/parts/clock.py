"""A monotonic clock that a test turns."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now
