"""The pruned search against float64 arithmetic on every clip, and that it is taken where it pays and only there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniwhisper.evaluation import pruned
from uniwhisper.evaluation.knn import knn_predict


@pytest.fixture(scope="module", autouse=True)
def small():
    """Sizes at which a few hundred clips are pruned, keep too few, are asked again, and fall to the full product."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruned, "_WORTH", 0)
        patch.setattr(pruned, "_SAMPLE", 500)
        patch.setattr(pruned, "_PASS", 0)
        patch.setattr(pruned, "_GATHER", 4)
        patch.setattr(pruned, "_SEEDS", 12)
        patch.setattr(pruned, "_KEPT", (16, 48))
        patch.setattr(pruned, "_BLOCK_QUERIES", 7)
        patch.setattr(pruned, "_BLOCK_OF_FULL", 5)
        patch.setattr(pruned, "_BUCKET_CLIPS", 4)
        patch.setattr(pruned, "_PARTS", (12, 8, 4))
        patch.setattr(pruned, "_CHUNK", 16)
        yield


def structured(seed: int, clips: int, width: int = 48, exponent: float = 1.5, sources: int = 20) -> np.ndarray:
    """float32 (clips, width) with a decaying spectrum around sources, and an offset."""
    generator = np.random.default_rng(seed)
    deviation = np.arange(1, width + 1) ** (-exponent / 2)
    centres = generator.normal(size=(sources, width))[generator.integers(sources, size=clips)]
    vectors = (centres + generator.normal(size=(clips, width))) * deviation + generator.normal(size=width) / 4
    return vectors.astype(np.float32)


def unit(vectors: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)


def search(reference: torch.Tensor, axes: int) -> pruned.Pruned:
    """With so many axes, whether it pays or not."""
    found = pruned._Axes.of(reference, axes)
    coordinates = found.coordinates(reference)
    return pruned.Pruned(reference, found, found.bounds(coordinates, reference.norm(dim=1)))


def assert_nearest(reference: torch.Tensor, queries: torch.Tensor, scores: torch.Tensor, clips: torch.Tensor) -> None:
    """By float64: no clip left out is nearer than one taken but by rounding; equal vectors stand in order of clips."""
    truth = queries.double().numpy() @ reference.double().numpy().T
    best = -np.sort(-truth, axis=1)[:, : clips.shape[1]]
    taken = np.take_along_axis(truth, clips.numpy(), axis=1)
    np.testing.assert_allclose(-np.sort(-taken, axis=1), best, atol=1e-6)
    np.testing.assert_allclose(scores.numpy(), taken, atol=1e-6)
    first = {}
    copies = [first.setdefault(row.tobytes(), []) for row in reference.numpy()]
    for clip, same in enumerate(copies):
        same.append(clip)
    for row in clips.tolist():
        assert len(set(row)) == len(row)
        for clip in row:
            assert all(earlier in row for earlier in copies[clip] if earlier < clip), "a later copy before an earlier"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    clips=st.integers(20, 400),
    k=st.integers(1, 20),
    axes=st.integers(1, 48),
    exponent=st.sampled_from([0.0, 1.0, 2.0, 5.0]),
    alteration=st.sampled_from(["none", "copies", "zeros", "near", "axis", "float64"]),
)
def test_the_nearest_are_those_of_float64_on_every_clip(seed, clips, k, axes, exponent, alteration):
    generator = np.random.default_rng(seed)
    vectors = structured(seed, clips + 15, exponent=exponent)
    some = generator.integers(clips, size=clips // 2)
    if alteration == "copies":
        vectors[some] = vectors[generator.integers(5, size=len(some))]
    elif alteration == "zeros":
        vectors[some] = 0
        vectors[-3:] = 0
    elif alteration == "near":
        vectors[some] = vectors[0] + generator.normal(size=(len(some), 48)) * 1e-6
    elif alteration == "axis":
        vectors[:, 1:] = 0
    reference, queries = unit(vectors[:clips]), unit(vectors[clips:])
    if alteration == "float64":
        reference, queries = reference.double(), queries.double()
    k = min(k, clips)
    scores, nearest = search(reference, axes).nearest(queries, k)
    assert scores.dtype == reference.dtype
    assert_nearest(reference, queries, scores, nearest)


@pytest.mark.parametrize("axes", [1, 8, 40])
def test_the_axes_hold_nearly_what_the_best_ones_would(axes):
    reference = unit(structured(0, 500)).double()
    best = torch.linalg.eigvalsh(reference.T @ reference).flip(0)[:axes].sum()
    basis_DA = pruned._Axes.of(reference, axes).basis_DA.double()
    held = (reference @ basis_DA).square().sum(dim=0)
    assert 0.995 * best <= held.sum() <= best * (1 + 1e-6)
    assert (held.diff() <= 1e-6 * best).all(), "the most important first"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), axes=st.integers(1, 48), scale=st.sampled_from([0.0, 1e-3, 1.0]))
def test_a_bound_is_never_below_the_product(seed, axes, scale):
    """With its margin, in float64 and on vectors that lie in the axes entirely, so that rounding decides."""
    vectors = structured(seed, 60)
    vectors[:, 5:] *= scale
    reference = unit(vectors)
    ready = search(reference, axes)
    bounds = ready.bounds_NA.double() @ ready.bounds_NA.double().T
    exact = reference.double() @ reference.double().T
    assert (bounds + ready.axes.margin() >= exact).all()


def scored_in_full(monkeypatch) -> list[int]:
    """Grows by the number of queries of every call of the full product."""
    calls, full = [], pruned.full
    monkeypatch.setattr(pruned, "full", lambda r, q, k: calls.append(len(q)) or full(r, q, k))
    return calls


def test_structure_is_pruned_and_answers_alike(monkeypatch):
    vectors = structured(0, 3000, width=96, exponent=3, sources=200)
    labels = np.arange(2500) % 7
    calls = scored_in_full(monkeypatch)
    answers = knn_predict(vectors[:2500], labels, vectors[2500:])
    assert sum(calls) < 50, "most queries are proven by bounds"
    monkeypatch.setattr(pruned, "_WORTH", np.inf)
    calls.clear()
    np.testing.assert_array_equal(answers, knn_predict(vectors[:2500], labels, vectors[2500:]))
    assert calls == [500]


def test_without_structure_the_full_product_answers(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(3000, 96)).astype(np.float32)
    calls = scored_in_full(monkeypatch)
    knn_predict(vectors[:2500], np.arange(2500) % 7, vectors[2500:])
    assert calls == [500]


def test_queries_unlike_the_reference_are_still_answered_exactly(monkeypatch):
    """Structure in the reference, none in the queries: what the bounds leave open, the full product answers."""
    reference = unit(structured(0, 2500, width=96, exponent=3, sources=200))
    queries = unit(np.random.default_rng(1).normal(size=(100, 96)).astype(np.float32))
    ready = pruned.prepare(reference, 500, 10)
    calls = scored_in_full(monkeypatch)
    scores, clips = ready.nearest(queries, 10)
    assert sum(calls) > 20
    assert_nearest(reference, queries, scores, clips)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_left_to_the_full_product(wrong):
    vectors = structured(0, 2500, width=96)
    vectors[0, 0] = wrong
    assert pruned.prepare(unit(vectors), 500, 10) is None


def test_neighbours_may_be_all_clips():
    vectors = structured(0, 40)
    assert pruned.prepare(unit(vectors[:30]), 10, 30) is None
    assert len(knn_predict(vectors[:30], np.arange(30) % 3, vectors[30:], k=100)) == 10
