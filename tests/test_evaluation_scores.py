"""kNN, probe, folds, bootstrap: against formulas written out again, hand computation and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uniwhisper.evaluation.bootstrap import bootstrap_draws, interval
from uniwhisper.evaluation.folds import Standardiser, inner_split, make_folds
from uniwhisper.evaluation.knn import knn_predict
from uniwhisper.evaluation.probe import STRENGTHS, probe_predict
from uniwhisper.evaluation.scoring import score_task


def brute_force(reference, labels, query, k, temperature) -> list[float]:
    """Score per class, in plain Python."""
    similarities = []
    for row in reference:
        product = math.fsum(a * b for a, b in zip(row, query, strict=True))
        norms = math.hypot(*row) * math.hypot(*query)
        similarities.append(product / norms if norms else 0.0)
    nearest = sorted(range(len(reference)), key=lambda n: (-similarities[n], n))[:k]
    weights = {n: math.exp(similarities[n] / temperature) for n in nearest}
    return [math.fsum(weights[n] for n in nearest if labels[n] == c) for c in range(max(labels) + 1)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    clips=st.integers(1, 40),
    width=st.integers(1, 9),
    k=st.integers(1, 12),
    temperature=st.sampled_from([0.07, 0.5, 5.0]),
)
def test_knn_equals_the_formula(seed, clips, width, k, temperature):
    generator = np.random.default_rng(seed)
    reference, queries = generator.normal(size=(clips, width)), generator.normal(size=(7, width))
    assume(width > 1 or k >= clips)  # one dimension leaves only ties
    labels = generator.integers(4, size=clips)
    answers = knn_predict(reference, labels, queries, k=k, temperature=temperature)
    for query, answer in zip(queries, answers, strict=True):
        scores = brute_force(reference.tolist(), labels.tolist(), query.tolist(), k, temperature)
        assert scores[answer] == pytest.approx(max(scores), rel=1e-9)


def test_knn_by_hand():
    # Cosines of (1, 0) with the three: 0.8, 0.6, 0.6. Lengths must not matter.
    reference = np.array([[8.0, 6.0], [0.3, 0.4], [30.0, -40.0]])
    labels = np.array([0, 1, 1])
    query = np.array([[5.0, 0.0]])
    # T = 1: e^0.8 = 2.2255 against 2 e^0.6 = 3.6442. T = 0.07: e^(0.2 / 0.07) = 17.4 times one of the other two.
    assert knn_predict(reference, labels, query, k=3, temperature=1.0).tolist() == [1]
    assert knn_predict(reference, labels, query, k=3, temperature=0.07).tolist() == [0]
    assert knn_predict(reference, labels, query, k=1, temperature=1.0).tolist() == [0]


def test_knn_ties_go_to_the_earlier_clip_and_the_lower_class():
    same = np.ones((50, 3), dtype=np.float32)
    assert knn_predict(same, np.array([3] * 10 + [1] * 40), same[:2], k=10).tolist() == [3, 3]
    assert knn_predict(same, np.array([2, 1] * 25), same[:1], k=10).tolist() == [1]


def test_knn_of_zero_vectors_answers():
    zeros = np.zeros((3, 4), dtype=np.float32)
    assert knn_predict(zeros, np.array([0, 1, 1]), zeros, k=3).tolist() == [1, 1, 1]


def test_knn_is_not_the_per_feature_normalisation_of_x_ares():
    """One shared large direction, as real features have it: the two normalisations must disagree somewhere."""
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 25)
    vectors = generator.normal(size=(4, 8))[labels] + 0.7 * generator.normal(size=(100, 8)) + 5 * np.eye(8)[0]
    ours = knn_predict(vectors, labels, vectors + 1e-9)
    columns = vectors / np.linalg.norm(vectors, axis=0)
    theirs = knn_predict(columns, labels, vectors)
    assert (ours == labels).mean() > 0.9
    assert (ours != theirs).any()


def blobs(seed: int, *, classes: int = 3, clips: int = 90, width: int = 6, distance: float = 6.0):
    generator = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width)) * distance
    return (centres[labels] + generator.normal(size=(clips, width))).astype(np.float32), labels


def test_probe_learns_what_is_separable():
    reference, labels = blobs(0)
    queries, truth = blobs(1)
    answer = probe_predict(reference, labels, queries, seed=0)
    assert (answer.predicted == truth).all()
    assert answer.converged and answer.strength in STRENGTHS


def test_probe_equals_scikit_learn_at_its_strength():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    reference, labels = blobs(0, distance=0.6, clips=150)
    queries, _ = blobs(1, distance=0.6, clips=150)
    answer = probe_predict(reference, labels, queries, seed=0)
    scaler = StandardScaler().fit(reference)
    model = LogisticRegression(C=answer.strength, tol=1e-8, max_iter=10000).fit(scaler.transform(reference), labels)
    assert (answer.predicted == model.predict(scaler.transform(queries))).mean() >= 0.99


def test_probe_is_at_chance_on_shuffled_labels():
    reference, labels = blobs(0, clips=600, classes=4)
    queries, truth = blobs(1, clips=600, classes=4)
    shuffled = np.random.default_rng(5).permutation(labels)
    answer = probe_predict(reference, shuffled, queries, seed=0)
    # Blobs are answered as wholes: the count of right blobs is what varies.
    assert (answer.predicted == truth).mean() < 0.6
    shuffled_truth = np.random.default_rng(6).permutation(truth)
    assert abs((answer.predicted == shuffled_truth).mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 600)


def test_probe_says_when_it_did_not_converge():
    reference, labels = blobs(0, distance=0.5)
    assert not probe_predict(reference, labels, reference, seed=0, max_iterations=2).converged


def test_probe_chooses_its_strength_without_the_scored_fold():
    reference, labels = blobs(0, distance=0.5)
    near, far = blobs(1, distance=0.5)[0], 1000 * blobs(2, distance=5.0)[0]
    chosen = {probe_predict(reference, labels, queries, seed=0).strength for queries in (near, far)}
    assert len(chosen) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), others=st.integers(1, 20), scale=st.floats(0.1, 1e4))
def test_no_answer_depends_on_the_other_scored_clips(seed, others, scale):
    """Fails if anything is fitted on the scored fold: its other clips would then move the answer to the first."""
    generator = np.random.default_rng(seed)
    reference = generator.normal(size=(30, 4)).astype(np.float32) * [1, 10, 100, 0.1]
    query = generator.normal(size=(1, 4)).astype(np.float32)
    company = np.concatenate([query, generator.normal(size=(others, 4)) * scale + scale]).astype(np.float32)
    standardise = Standardiser.fit(reference)
    np.testing.assert_array_equal(standardise(company)[:1], standardise(query))

    labels = np.arange(30) % 3
    rest = np.arange(others + 1) % 3
    answers = []
    for scored, truth in ((query, rest[:1]), (company, rest)):
        vectors = np.concatenate([reference, scored]).astype(np.float32)
        folds = ["a"] * 30 + ["b"] * len(scored)
        result = score_task(vectors, np.concatenate([labels, truth]), folds, ("b",), seed=0)
        answers.append([predicted[0] for predicted in result.predicted.values()])
    assert answers[0] == answers[1]


def test_standardiser_is_that_of_scikit_learn():
    from sklearn.preprocessing import StandardScaler

    vectors = np.random.default_rng(0).normal(size=(50, 5)) * [1, 1e-6, 1e6, 3, 1] + [0, 1, 1e6, -5, 0]
    np.testing.assert_allclose(Standardiser.fit(vectors)(vectors), StandardScaler().fit_transform(vectors), atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e5])
def test_a_constant_feature_stays_at_zero(constant):
    vectors = np.full((7, 2), constant, dtype=np.float32)
    vectors[:, 1] = np.arange(7)
    assert (Standardiser.fit(vectors)(vectors)[:, 0] == 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40))
def test_folds_are_disjoint_and_complete(names):
    present = sorted(set(names))
    assume(len(present) > 1)
    folds = make_folds(names, present)
    for fold in folds:
        assert not set(fold.reference) & set(fold.scored)
        assert sorted([*fold.reference, *fold.scored]) == list(range(len(names)))
        assert {names[index] for index in fold.scored} == {fold.name}
    assert sorted(np.concatenate([fold.scored for fold in folds])) == list(range(len(names)))


@pytest.mark.parametrize("names", [["a", "a"], ["b", "b"]])
def test_a_fold_needs_clips_inside_and_outside(names):
    with pytest.raises(ValueError, match="fold a holds"):
        make_folds(names, ["a"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=80), st.integers(0, 1000))
def test_inner_split_keeps_every_class_on_the_fitting_side(labels, seed):
    labels = np.array(labels)
    fitting, choosing = inner_split(labels, share=0.2, seed=seed)
    assert sorted([*fitting, *choosing]) == list(range(len(labels)))
    assert set(labels[fitting]) == set(labels)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert (labels[choosing] == label).sum() == (0 if count == 1 else max(1, round(0.2 * count)))


def test_bootstrap_agrees_with_the_binomial():
    correct = np.arange(400) < 100
    draws = bootstrap_draws([correct], seed=0, resamples=4000)
    assert draws.mean() == pytest.approx(0.25, abs=0.002)
    assert draws.std() == pytest.approx(math.sqrt(0.25 * 0.75 / 400), rel=0.05)
    low, high = interval(draws)
    assert low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.004)
    assert high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.004)


def test_bootstrap_weighs_folds_not_clips_and_repeats_itself():
    folds = [np.ones(900), np.zeros(100)]
    draws = bootstrap_draws(folds, seed=1, resamples=50)
    np.testing.assert_allclose(draws, 0.5)
    mixed = [np.arange(50) % 2, np.arange(30) % 3 == 0]
    np.testing.assert_array_equal(bootstrap_draws(mixed, seed=7), bootstrap_draws(mixed, seed=7))
    assert (bootstrap_draws(mixed, seed=7) != bootstrap_draws(mixed, seed=8)).any()


def test_scores_follow_from_the_answers():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    vectors = (np.eye(3)[labels] * 2 + generator.normal(size=(60, 3))).astype(np.float32)
    folds = ["x"] * 20 + ["y"] * 30 + ["z"] * 10
    result = score_task(vectors, labels, folds, ("x", "y", "z"), seed=0)
    for measure, predicted in result.predicted.items():
        right = predicted == labels[result.scored]
        each = [right[:20].mean(), right[20:50].mean(), right[50:].mean()]
        scores = result.scores[measure]
        assert [fold["score"] for fold in scores["folds"]] == pytest.approx(each)
        assert scores["score"] == pytest.approx(np.mean(each))
        assert scores["spread"] == pytest.approx(np.std(each, ddof=1))
        assert scores["low"] <= scores["score"] <= scores["high"]
