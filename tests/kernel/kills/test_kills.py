"""Kill -9 of every kind of process at random moments: what should be back is, and nothing is left over."""

import random

import pytest
from command_line import CommandLine
from trial import KINDS, MANIFEST, carry_out

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("kind", KINDS)
def test_a_lab_is_gone_or_back_after_a_kill(sidelab: CommandLine, kind: str):
    """What holds the lab up takes all of it along; of everything else there is another one soon."""
    rng = random.Random(kind)
    carry_out(sidelab, sidelab.manifest(MANIFEST), kind, rng)
