"""What every architecture of experts must keep: its shapes, its coding and its prediction agree, for any schema."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamdex_fl.errors import InputError, WeightsError
from llamdex_fl.experts import (
    ARCHITECTURES,
    MINILM_LORA,
    SMOLLM2_LORA,
    THERMOMETER_CROSSES,
    THERMOMETER_LARGE,
    THERMOMETER_LINEAR,
    Expert,
    code_length,
    code_records,
    tensor_shapes,
)
from llamdex_fl.schema import Feature, Schema, Target, Value, load_library_schema

_NUMBERS = st.tuples(st.floats(-1e6, 1e6), st.floats(0.5, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    features = []
    for number in range(draw(st.integers(1, 4))):
        categories = draw(st.integers(0, 5))
        features.append(
            Feature(name=f"f{number}", kind="number", description="d", bounds=draw(_NUMBERS))
            if categories < 2
            else Feature(
                name=f"f{number}", kind="category", description="d", categories=tuple(map(str, range(categories)))
            )
        )
    labels = tuple(str(label) for label in range(draw(st.integers(2, 4))))
    target = Target(name="t", labels=labels, answers=labels, sentences=labels)
    return Schema(name="s", title="S", question="?", features=tuple(features), target=target)


@st.composite
def records(draw: st.DrawFn, schema: Schema) -> list[dict[str, Value]]:
    def value(feature: Feature) -> st.SearchStrategy[Value]:
        if feature.is_category:
            return st.none() | st.sampled_from(feature.categories)
        return st.none() | st.floats(*feature.low_high())

    one = st.fixed_dictionaries({}, optional={feature.name: value(feature) for feature in schema.features})
    return draw(st.lists(one, max_size=4))


def _is_text(text: str) -> bool:
    return load_library_schema("sentiment").features[0].contains(text)


#: Subclasses share a test on purpose; what fails in one is told with its architecture.
_shared = settings(suppress_health_check=[HealthCheck.differing_executors], max_examples=60)


class ArchitectureContract:
    """Whatever the schema, what ``tensor_shapes`` says is what ``Expert.from_tensors`` takes and can use."""

    architecture: str

    def tensors(self, schema: Schema, seed: int) -> dict[str, NDArray[np.float32]]:
        random = np.random.default_rng(seed)
        made = {
            name: random.normal(size=shape).astype(np.float32)
            for name, shape in tensor_shapes(self.architecture, schema).items()
        }
        return made | {"class_counts": random.uniform(1, 99, made["class_counts"].shape).astype(np.float32)}

    @_shared
    @given(data=st.data(), schema=schemas(), seed=st.integers(0, 99))
    def test_shapes_coding_and_prediction_agree(self, data: st.DataObject, schema: Schema, seed: int) -> None:
        asked = data.draw(records(schema))
        codes_nD = code_records(self.architecture, schema, asked)
        assert codes_nD.shape == (len(asked), tensor_shapes(self.architecture, schema)["weight"][1])
        assert np.abs(codes_nD).max(initial=0.0) <= 1.0
        expert = Expert.from_tensors(schema, self.tensors(schema, seed), self.architecture)
        chances_nC = expert.predict_proba(asked)
        assert chances_nC.shape == (len(asked), len(schema.target.labels))
        np.testing.assert_allclose(chances_nC.sum(axis=1), 1.0, atol=1e-9)
        np.testing.assert_allclose(expert.log_odds(asked).sum(axis=1), 0.0, atol=1e-6)
        assert abs(float(expert.prior.sum()) - 1.0) < 1e-9

    @_shared
    @given(schema=schemas())
    def test_an_empty_record_is_one_whose_every_feature_is_absent(self, schema: Schema) -> None:
        absent: dict[str, Value] = dict.fromkeys(feature.name for feature in schema.features)
        ways = [code_records(self.architecture, schema, [record]) for record in ({}, absent)]
        np.testing.assert_array_equal(*ways)

    @_shared
    @given(schema=schemas(), other=schemas())
    def test_tensors_of_another_shape_are_refused(self, schema: Schema, other: Schema) -> None:
        tensors = self.tensors(other, 0)
        if tensor_shapes(self.architecture, schema) != tensor_shapes(self.architecture, other):
            with pytest.raises(WeightsError):
                Expert.from_tensors(schema, tensors, self.architecture)

    @_shared
    @given(data=st.data(), schema=schemas())
    def test_a_records_codes_are_about_as_long_as_the_schema_says(self, data: st.DataObject, schema: Schema) -> None:
        # Absent values shorten the codes; no record's are more than a little longer.
        lengths_n = np.linalg.norm(code_records(self.architecture, schema, data.draw(records(schema))), axis=1)
        assert lengths_n.max(initial=0.0) <= 1.5 * code_length(self.architecture, schema)

    @_shared
    @given(schema=schemas())
    def test_shapes_are_fixed_by_name_and_schema(self, schema: Schema) -> None:
        shapes = tensor_shapes(self.architecture, schema)
        assert shapes == tensor_shapes(self.architecture, schema)
        assert shapes["class_counts"] == (len(schema.target.labels),)
        assert all(size > 0 for shape in shapes.values() for size in shape)


class TestThermometerLinear(ArchitectureContract):
    """Softmax regression on soft thermometers."""

    architecture = THERMOMETER_LINEAR


class TestThermometerLarge(ArchitectureContract):
    """The same for one large table."""

    architecture = THERMOMETER_LARGE


class TestThermometerCrosses(ArchitectureContract):
    """With pairs of categories."""

    architecture = THERMOMETER_CROSSES


class TextContract(ArchitectureContract):
    """The same of records that are texts; the schema decides no more than the number of classes."""

    __test__ = False

    @settings(suppress_health_check=[HealthCheck.differing_executors], max_examples=5, deadline=None)
    @given(texts=st.lists(st.none() | st.text(min_size=1, max_size=40).filter(_is_text), max_size=3))
    def test_shapes_coding_and_prediction_agree(self, texts: list[str | None]) -> None:  # type: ignore[override]
        schema = load_library_schema("sentiment")
        expert = Expert.from_tensors(schema, self.tensors(schema, 1), self.architecture)
        asked: list[dict[str, Value]] = [{"text": text} for text in texts]
        chances_nC = expert.predict_proba(asked)
        assert chances_nC.shape == (len(asked), 2)
        np.testing.assert_allclose(chances_nC.sum(axis=1), 1.0, atol=1e-9)
        np.testing.assert_allclose(expert.log_odds(asked).sum(axis=1), 0.0, atol=1e-6)

    def test_an_empty_record_is_one_whose_every_feature_is_absent(self) -> None:  # type: ignore[override]
        schema = load_library_schema("sentiment")
        expert = Expert.from_tensors(schema, self.tensors(schema, 1), self.architecture)
        np.testing.assert_array_equal(expert.log_odds([{}]), expert.log_odds([{"text": None}]))

    @_shared
    @given(schema=schemas())
    def test_tensors_of_another_shape_are_refused(self, schema: Schema) -> None:  # type: ignore[override]
        with pytest.raises(InputError):
            Expert.from_tensors(schema, {}, self.architecture)
        tensors = self.tensors(load_library_schema("sentiment"), 0)
        with pytest.raises(WeightsError):
            Expert.from_tensors(
                load_library_schema("sentiment"), tensors | {"more": tensors["head.bias"]}, self.architecture
            )

    def test_shapes_are_fixed_by_name_and_schema(self) -> None:  # type: ignore[override]
        shapes = tensor_shapes(self.architecture, load_library_schema("sentiment"))
        assert shapes["class_counts"] == (2,)
        assert all(size > 0 for shape in shapes.values() for size in shape)


class TestMiniLM(TextContract):
    """Low-rank parameters over MiniLM."""

    __test__ = True
    architecture = MINILM_LORA


@pytest.mark.slow
class TestSmolLM2(TextContract):
    """Low-rank parameters over SmolLM2."""

    __test__ = True
    architecture = SMOLLM2_LORA


def test_every_architecture_is_under_the_contract() -> None:
    contracts = {*ArchitectureContract.__subclasses__(), *TextContract.__subclasses__()} - {TextContract}
    assert {contract.architecture for contract in contracts} == set(ARCHITECTURES)


@given(schema=schemas(), name=st.text(max_size=30).filter(lambda name: name not in ARCHITECTURES))
def test_an_unknown_architecture_is_refused(schema: Schema, name: str) -> None:
    with pytest.raises(InputError):
        tensor_shapes(name, schema)
