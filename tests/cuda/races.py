"""Whether anything stands between two threads at one place of memory, of which one writes.

A barrier stands between threads of one block.  Between blocks nothing does: what one of them writes others may only
read by relaxed loads, which look whether the number has come.
"""

import numpy as np

GRAIN = 2  # bytes of one place
NOBODY, SEVERAL = -1, -2


class RaceError(Exception):
    """What a device would not forgive."""


class Blocks:
    """How many barriers each block has passed."""

    def __init__(self, count):
        self.count, self.epoch = count, np.zeros(count, np.int64)

    def passed(self, block):
        """All threads of the block have come to a barrier."""
        self.epoch[block] += 1


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
        racing |= ~own & (by_block != NOBODY)
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
            racing = (epoch == blocks.epoch[block]) & (reader != lanes) if other == block else epoch >= 0
            if racing.any():
                n = int(np.flatnonzero(racing)[0])
                raise RaceError(f"thread {int(lanes[n])} of block {block} writes where block {other} may still read")
        self.writer[0, places], self.writer[1, places] = block, lanes
        self.write_epoch[places] = blocks.epoch[block]
