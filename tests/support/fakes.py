"""What stands around a device in a unit test: a line, time, a cable."""


class Line:
    """An IrqLine that counts how often it rose."""

    def __init__(self):
        self.level = False
        self.rises = 0

    def set(self, level):
        self.rises += level and not self.level
        self.level = level


class Pending:
    """A timer of a ``Clock``."""

    def __init__(self, when, callback):
        self.when, self.callback = when, callback

    def cancel(self):
        self.callback = None


class Clock:
    """An EventLoop whose time moves when a test says so; it watches no descriptors."""

    def __init__(self):
        self.now, self.timers = 0, []

    def now_ns(self):
        return self.now

    def call_at(self, when, callback):
        timer = Pending(when, callback)
        self.timers.append(timer)
        return timer

    def add_reader(self, fd, callback):
        """Nothing is delivered."""

    def remove_reader(self, fd):
        """Nothing was."""

    def live(self):
        """Timers that are neither due nor cancelled yet."""
        return [timer for timer in self.timers if timer.callback]

    def advance(self, ns):
        """Let ``ns`` pass; timers fire in order, at their time."""
        end = self.now + ns
        while due := [timer for timer in self.live() if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.now = max(self.now, timer.when)
            self.timers.remove(timer)
            timer.callback()
        self.now = end
