"""Random bit flips in a real sealed upload; ``make review`` flips 100,000."""

from pathlib import Path

from simulations.review import Arena
from simulations.review.bit_flips import flip_in_process


def test_no_flipped_bit_is_accepted(tmp_path: Path):
    flips = flip_in_process(Arena(tmp_path), 1500)
    assert flips.tried == 1500
    assert sum(flips.by_part.values()) == 1500
    assert flips.accepted == 0, f"seed {flips.seed}"
