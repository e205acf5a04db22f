"""Two schedulers that choose otherwise than first come, first served."""

from __future__ import annotations

import random
from collections import deque


class RandomOrder:
    """Any ready task, by a seed. ``choices`` is what was chosen: the same seed gives the same run."""

    def __init__(self, seed=0):
        self._random = random.Random(seed)
        self._entries = []
        self.choices = []

    def append(self, entry):
        self._entries.append(entry)

    def popleft(self):
        chosen = self._random.randrange(len(self._entries))
        self.choices.append(chosen)
        return self._entries.pop(chosen)

    def __len__(self):
        return len(self._entries)


class NewestFirst:
    """The task that became ready last runs first; one that yielded waits until no such task is left, or it would run for ever."""

    def __init__(self):
        self._fresh = []
        self._yielded = deque()

    def append(self, entry):
        self._fresh.append(entry)

    def append_yielded(self, entry):
        self._yielded.append(entry)

    def popleft(self):
        return self._fresh.pop() if self._fresh else self._yielded.popleft()

    def __len__(self):
        return len(self._fresh) + len(self._yielded)
