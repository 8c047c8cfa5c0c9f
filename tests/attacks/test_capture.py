"""What an eavesdropper gets of a real upload, and that the search for secrets in it would find them."""

from pathlib import Path

import numpy as np

from simulations.review import Arena
from simulations.review.capture import capture, found, windows


def test_a_captured_upload_holds_no_weights_keys_or_records(tmp_path: Path):
    caught = capture(Arena(tmp_path))
    assert caught.clean, caught
    assert set(caught.found) == {"weights", "private keys", "records"}


def test_the_search_finds_what_is_there_at_any_offset():
    secret = np.random.default_rng(0).bytes(400)
    needles = windows(secret)
    assert found(needles, [b"abc" + secret[:100], b"x", secret[100:]]) >= len(needles) - 8
    assert found(needles, [np.random.default_rng(1).bytes(100_000)]) == 0
    assert windows(bytes(1000)).size == 0
