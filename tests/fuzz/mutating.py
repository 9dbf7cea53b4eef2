"""Inputs that are nearly right: pieces of a corpus, joined and damaged; equal for equal seed and number."""

from collections.abc import Sequence
from random import Random

_MOST_DAMAGES = 6
_LONGEST_REPEAT = 300


class Mutator:
    """Makes inputs from whole ones in `corpus` and from `words`, which have a meaning to the reader."""

    def __init__(self, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
        self._corpus = corpus
        self._words = words

    def make(self, seed: int, number: int) -> bytes:
        """Return input `number` of the series of `seed`."""
        rng = Random(seed << 40 | number)
        data = bytearray(rng.choice(self._corpus))
        if rng.random() < 0.2:
            data += rng.choice(self._corpus)
        for _ in range(rng.randrange(_MOST_DAMAGES)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(8):
                case 0:
                    data[at:at] = rng.choice(self._words)
                case 1:
                    data[at : at + rng.randrange(1, 9)] = rng.choice(self._words)
                case 2:
                    del data[at : at + rng.randrange(1, 9)]
                case 3 if data:
                    data[at % len(data)] ^= 1 << rng.randrange(8)
                case 4 if data:
                    data[at % len(data)] = rng.randrange(256)
                case 5:
                    data[at:at] = data[at : at + rng.randrange(40)] * rng.randrange(4)
                case 6:
                    data[at:at] = bytes((rng.randrange(256),)) * rng.randrange(_LONGEST_REPEAT)
                case _:
                    other = rng.choice(self._corpus)
                    data[at:] = other[rng.randrange(len(other) + 1) :]
        return bytes(data)


def pieces(data: bytes, seed: int) -> tuple[bytes, ...]:
    """Return `data` as it may arrive: whole, in two, or in three pieces, none of them empty."""
    if len(data) < 2 or not seed % 3:
        return (data,) if data else ()
    first = seed * 7919 % (len(data) - 1) + 1
    if seed % 3 == 1:
        return data[:first], data[first:]
    second = first + seed * 104729 % (len(data) - first + 1)
    return tuple(each for each in (data[:first], data[first:second], data[second:]) if each)
