"""Whether anything stands between two threads at one place of memory, of which one writes.

A barrier stands between threads of one block.  Between blocks it is a count: who adds to it with `release` tells what
its block did before its last barrier, and who reads it with `acquire` knows that after its next one.
"""

import numpy as np

GRAIN = 2  # bytes of one place
NOBODY, SEVERAL = -1, -2


class RaceError(Exception):
    """What a device would not forgive."""


class Blocks:
    """Which of each other's barriers the blocks know to be passed."""

    def __init__(self, count):
        self.count, self.epoch = count, np.zeros(count, np.int64)
        self.known = np.full((count, count), -1, np.int64)  # [block, other]: the last epoch of it that is over
        self.heard, self.told = self.known.copy(), {}

    def passed(self, block):
        """All threads of the block have come to a barrier."""
        self.known[block] = np.maximum(self.known[block], self.heard[block])
        self.known[block, block] = self.epoch[block]
        self.epoch[block] += 1

    def released(self, block, place):
        self.told[place] = np.maximum(self.told.get(place, self.known[block]), self.known[block])

    def acquired(self, block, place):
        if place in self.told:
            self.heard[block] = np.maximum(self.heard[block], self.told[place])


class Shadow:
    """Of each place the last writer, and of each block its last reader."""

    def __init__(self, size, blocks):
        places = -(-size // GRAIN)
        self.writer, self.write_epoch = np.full((2, places), NOBODY, np.int64), np.full(places, -1, np.int64)
        self.reader, self.read_epoch = np.full((blocks, places), NOBODY), np.full((blocks, places), -1, np.int64)

    @staticmethod
    def _places(lanes, addresses, size):
        many = max(1, size // GRAIN)
        places = (addresses // GRAIN)[:, None] + np.arange(many)
        return places.reshape(-1), np.repeat(lanes, many)

    def _after_write(self, blocks, block, places, lanes):
        """Refuse what is not known to come after the last write."""
        (by_block, by_lane), epoch = self.writer[:, places], self.write_epoch[places]
        own = by_block == block
        racing = own & (by_lane != lanes) & (epoch == blocks.epoch[block])
        others = ~own & (by_block != NOBODY)
        racing |= others & (epoch > blocks.known[block, np.where(others, by_block, 0)])
        if racing.any():
            n = int(np.flatnonzero(racing)[0])
            writer = int(by_block[n]), int(by_lane[n])
            raise RaceError(f"(block, thread) {(block, int(lanes[n]))} is where {writer} wrote, and nothing between")

    def reads(self, blocks, block, lanes, addresses, size):
        places, lanes = self._places(lanes, addresses, size)
        self._after_write(blocks, block, places, lanes)
        now, reader, epoch = blocks.epoch[block], self.reader[block], self.read_epoch[block]
        joined = (epoch[places] == now) & (reader[places] != lanes)
        reader[places], epoch[places] = np.where(joined, SEVERAL, lanes), now
        reader[places[(reader[places] != lanes)]] = SEVERAL

    def writes(self, blocks, block, lanes, addresses, size):
        places, lanes = self._places(lanes, addresses, size)
        if len(np.unique(places)) < len(places):
            raise RaceError(f"threads of block {block} write to one place at once")
        self._after_write(blocks, block, places, lanes)
        for other in range(blocks.count):
            epoch, reader = self.read_epoch[other, places], self.reader[other, places]
            if other == block:
                racing = (epoch == blocks.epoch[block]) & (reader != lanes)
            else:
                racing = epoch > blocks.known[block, other]
            if racing.any():
                n = int(np.flatnonzero(racing)[0])
                raise RaceError(f"thread {int(lanes[n])} of block {block} writes where block {other} may still read")
        self.writer[0, places], self.writer[1, places] = block, lanes
        self.write_epoch[places] = blocks.epoch[block]
