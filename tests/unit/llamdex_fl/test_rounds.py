"""The words of a round: strict in, exact out."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.release import Offer
from llamdex_fl.rounds import (
    PUBLIC_TEXT,
    TRANSIENT,
    Answer,
    check_facts,
    guarantee_to_text,
    offer_from_text,
    offer_to_text,
)

OFFER = Offer(
    provider="prov-1",
    purpose="answer-questions",
    schema_digest="a" * 64,
    architecture="thermometer_linear/v1",
    base_model_digest="b" * 64,
    epsilon=1.0,
    delta=1e-5,
    challenge="c" * 64,
)
FACTS = {"receipt_id": "0f" * 16, "artefact_digest": "d" * 64, "guarantee": '{"epsilon":"1.0"}'}


@given(epsilon=st.floats(1e-6, 1e6), delta=st.floats(1e-12, 0.999))
def test_an_offer_comes_back_as_it_was(epsilon: float, delta: float):
    offer = replace(OFFER, epsilon=epsilon, delta=delta)
    assert offer_from_text(offer_to_text(offer)) == offer


def test_numbers_travel_as_plain_decimals():
    assert offer_to_text(OFFER)["delta"] == "0.00001"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", "1e3"),
        ("epsilon", "0"),
        ("epsilon", "-1"),
        ("epsilon", "nan"),
        ("epsilon", 1.0),
        ("delta", "1.0"),
        ("challenge", "c" * 63),
        ("challenge", "C" * 64),
        ("schema_digest", "a" * 64 + "\n"),
        ("purpose", "../../etc/passwd\0"),
        ("purpose", ""),
        ("architecture", "x" * 200),
        ("provider", None),
    ],
)
def test_a_bad_field_is_refused_and_its_value_is_not_repeated(field: str, value: object):
    with pytest.raises(InputError) as caught:
        offer_from_text({**offer_to_text(OFFER), field: value})
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("change", [{"row": "1"}, {"epsilon": None}])
def test_missing_and_unknown_fields_are_refused(change: dict[str, str | None]):
    fields: dict[str, object] = {**offer_to_text(OFFER), **change}
    if change.get("epsilon", "") is None:
        del fields["epsilon"]
    with pytest.raises(InputError):
        offer_from_text(fields)


def test_facts_are_three_texts_of_a_form():
    assert check_facts(FACTS) == FACTS
    for bad in (
        {**FACTS, "note": "row 17"},
        {**FACTS, "receipt_id": "row 17"},
        {**FACTS, "guarantee": "x" * 9000},
        {**FACTS, "guarantee": "a\nb"},
        {"receipt_id": FACTS["receipt_id"]},
    ):
        with pytest.raises(InputError):
            check_facts(bad)


def test_every_code_has_one_public_text():
    assert set(PUBLIC_TEXT) == set(Answer)
    assert set(Answer) > TRANSIENT


def test_a_guarantee_is_one_line_that_fits_the_facts():
    guarantee = Guarantee(
        epsilon=1.0,
        delta=1e-5,
        mechanisms=(
            SampledGaussian(sampling_rate=1 / 6, noise_multiplier=3.1, steps=180, max_grad_norm=1.0),
            LaplaceCounts(epsilon=0.1),
        ),
        accountant="pld",
        accountant_version="dp-accounting 0.6.0",
    )
    text = guarantee_to_text(guarantee)
    assert '"delta":"0.00001"' in text
    assert check_facts({**FACTS, "guarantee": text})["guarantee"] == text


def test_the_words_need_nothing_heavy():
    # A ClientApp's process starts for every message.
    code = (
        "import sys, llamdex_fl.rounds; print([m for m in ('torch', 'numpy', 'scipy', 'opacus') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
