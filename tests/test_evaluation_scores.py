"""kNN, folds, bootstrap: against formulas written out again, hand computation and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uniwhisper.evaluation import largest
from uniwhisper.evaluation.bootstrap import (
    average_precision_draws,
    clip_weights,
    difference,
    interval,
    score_draws,
)
from uniwhisper.evaluation.clips import deal_groups
from uniwhisper.evaluation.folds import Standardiser, inner_split, make_folds
from uniwhisper.evaluation.kept import Kept, ScoredTask
from uniwhisper.evaluation.knn import knn_predict
from uniwhisper.evaluation.metrics import mean_average_precision
from uniwhisper.evaluation.scoring import score_task, summary


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


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    clips=st.integers(100, 3000),
    k=st.integers(1, 15),
    levels=st.sampled_from([3, 50, 10**6]),
)
def test_the_nearest_of_many_are_those_of_a_stable_sort(seed, clips, k, levels):
    """Few levels make ties of every kind: inside the k, across their edge, across rows of any layout."""
    similarity = np.random.default_rng(seed).integers(levels, size=(5, clips)).astype(np.float32)
    expected = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    nearest = largest.nearest(torch.from_numpy(similarity), k)
    np.testing.assert_array_equal(np.take_along_axis(similarity, nearest.numpy(), 1), -np.sort(-similarity, 1)[:, :k])
    np.testing.assert_array_equal(np.sort(nearest.numpy(), axis=1), np.sort(expected, axis=1))


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


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), others=st.integers(1, 20), scale=st.floats(0.1, 1e4))
def test_no_neighbour_depends_on_the_other_scored_clips(seed, others, scale):
    """Fails if anything is fitted on the scored fold: its other clips would then move the answer to the first."""
    generator = np.random.default_rng(seed)
    reference = (generator.normal(size=(30, 4)) * [1, 10, 100, 0.1]).astype(np.float32)
    query = generator.normal(size=(1, 4)).astype(np.float32)
    company = np.concatenate([query, generator.normal(size=(others, 4)) * scale + scale]).astype(np.float32)
    standardise = Standardiser.fit(reference)
    np.testing.assert_array_equal(standardise(company)[:1], standardise(query))
    answers = [knn_predict(reference, np.arange(30) % 3, scored)[0] for scored in (query, company)]
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=2, max_size=80), st.integers(0, 1000))
def test_inner_split_never_parts_a_group_nor_takes_a_whole_class(clips, seed):
    labels, groups = np.array([label for label, _ in clips]), [str(group) for _, group in clips]
    fitting, choosing = inner_split(labels, groups, share=0.2, seed=seed)
    assert sorted([*fitting, *choosing]) == list(range(len(labels)))
    assert set(labels[fitting]) == set(labels)
    assert not {groups[i] for i in fitting} & {groups[i] for i in choosing}
    again = inner_split(labels, groups, share=0.2, seed=seed)
    np.testing.assert_array_equal(again[1], choosing)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=10, max_size=80), st.integers(0, 1000))
def test_inner_split_by_clip_is_stratified(labels, seed):
    labels = np.array(labels)
    _, choosing = inner_split(labels, [str(clip) for clip in range(len(labels))], share=0.2, seed=seed)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        if count > 2:
            assert abs((labels[choosing] == label).sum() - 0.2 * count) <= 0.5 + 1e-9


def test_inner_split_holds_out_a_whole_speaker():
    labels, speakers = np.arange(100) % 10, [str(clip // 20) for clip in range(100)]
    _, choosing = inner_split(labels, speakers, share=0.2, seed=0)
    assert len(choosing) == 20 and len({speakers[clip] for clip in choosing}) == 1


def test_inner_split_holds_nothing_out_where_groups_are_classes():
    labels = np.repeat([0, 1, 2], 5)
    _, choosing = inner_split(labels, [str(label) for label in labels], share=0.2, seed=0)
    assert len(choosing) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=5, max_size=100))
def test_dealt_groups_stay_whole_and_know_no_order(clips):
    groups, labels = [str(group) for _, group in clips], [str(label) for label, _ in clips]
    folds = deal_groups(groups, labels, ("a", "b", "c"))
    assert all(len({f for f, g in zip(folds, groups, strict=True) if g == group}) == 1 for group in groups)
    backwards = deal_groups(groups[::-1], labels[::-1], ("a", "b", "c"))
    assert backwards[::-1] == folds


def test_dealt_groups_are_even():
    groups = [f"speaker {clip // 12:03}" for clip in range(70 * 12)]
    labels = ["child" if clip // 12 < 30 else "adult" for clip in range(70 * 12)]
    folds = deal_groups(groups, labels, tuple("01234"))
    for fold in "01234":
        inside = [label for label, where in zip(labels, folds, strict=True) if where == fold]
        assert (inside.count("child"), inside.count("adult")) == (72, 96)


def draws_of(values, folds=None, groups=None, seed=0):
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    clips = values.shape[1]
    groups = groups or [str(clip) for clip in range(clips)]
    return score_draws(values, clip_weights(groups, seed=seed), folds or ["a"] * clips, seed=seed)


def test_bootstrap_agrees_with_the_binomial():
    draws = draws_of(np.arange(400) < 100)
    assert draws.mean() == pytest.approx(0.25, abs=0.002)
    assert draws.std() == pytest.approx(math.sqrt(0.25 * 0.75 / 400), rel=0.06)
    low, high = interval(draws)
    assert low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.006)
    assert high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.006)


def test_bootstrap_of_groups_that_agree_is_that_of_their_number():
    """40 speakers of 10 clips, each all right or all wrong: 40 independent values, not 400."""
    values = np.repeat(np.arange(40) < 10, 10)
    draws = draws_of(values, groups=[str(clip // 10) for clip in range(400)])
    assert draws.std() == pytest.approx(math.sqrt(0.25 * 0.75 / 40), rel=0.06)


def test_bootstrap_adds_the_clips_within_groups():
    """Two levels: with half right in every group, only the draw of clips within the groups is left."""
    values = np.tile([1, 0], 200)
    draws = draws_of(values, groups=[str(clip // 10) for clip in range(400)])
    assert draws.std() == pytest.approx(math.sqrt(0.25 / 400), rel=0.06)


def average_precision(scores: list[float], right: list[bool]) -> float:
    """Mean over the right clips of the precision among all clips scored at least as high: the definition, slowly."""
    hits = [score for score, yes in zip(scores, right, strict=True) if yes]
    above = [[yes for score, yes in zip(scores, right, strict=True) if score >= hit] for hit in hits]
    return math.fsum(sum(each) / len(each) for each in above) / len(hits)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), clips=st.integers(2, 14), levels=st.sampled_from([2, 4, 1000]))
def test_bootstrap_of_average_precision_is_that_of_the_repeated_clips(seed, clips, levels):
    """Every draw as a list in which a clip stands as often as it was drawn; few levels give ties."""
    generator = np.random.default_rng(seed)
    scores_QC = generator.integers(levels, size=(clips, 3)).astype(np.float32)
    truth_QC = (generator.random((clips, 3)) < 0.4).astype(np.float32)
    folds = [str(place % 2) for place in range(clips)]
    weights_RQ = clip_weights([str(place // 2) for place in range(clips)], seed=seed, resamples=20)
    found_R = average_precision_draws(scores_QC[None], truth_QC, weights_RQ, folds, seed=0)
    for weights_Q, found in zip(weights_RQ.astype(int), found_R, strict=True):
        by_fold = []
        for fold in ("0", "1"):
            drawn = [clip for clip in range(clips) if folds[clip] == fold for _ in range(weights_Q[clip])]
            classes = [c for c in range(3) if truth_QC[drawn, c].any()]
            each = [average_precision(scores_QC[drawn, c].tolist(), (truth_QC[drawn, c] > 0).tolist()) for c in classes]
            by_fold += [np.mean(each)] if each else []
        assert found == pytest.approx(np.mean(by_fold) if by_fold else 0.0, abs=1e-9)


def test_bootstrap_of_average_precision_has_the_score_in_its_middle_and_resamples_seeds():
    generator = np.random.default_rng(3)
    truth_QC = (generator.random((400, 5)) < 0.2).astype(np.float32)
    scores_SQC = (truth_QC + generator.normal(size=(2, 400, 5))).astype(np.float32)
    once = np.ones((4, 400), dtype=np.float32)
    score_S = [mean_average_precision(scores_QC, truth_QC) for scores_QC in scores_SQC]
    one = average_precision_draws(scores_SQC[:1], truth_QC, once, ["0"] * 400, seed=0)
    assert one == pytest.approx([score_S[0]] * 4)
    weights_RQ = clip_weights([str(place) for place in range(400)], seed=0, resamples=200)
    draws_R = average_precision_draws(scores_SQC[:1], truth_QC, weights_RQ, ["0"] * 400, seed=0)
    low, high = interval(draws_R)
    assert low < score_S[0] < high and 0.01 < draws_R.std() < 0.05
    both = average_precision_draws(scores_SQC, truth_QC, np.repeat(once, 50, axis=0), ["0"] * 400, seed=0)
    assert {round(float(each), 6) for each in both} == {
        round(float(each), 6) for each in (score_S[0], score_S[1], np.mean(score_S))
    }


def test_bootstrap_resamples_seeds():
    """Five seeds of 0, .25, .5, .75, 1 on every clip: only the seeds vary. Deviation .3536 / sqrt(5)."""
    draws = draws_of(np.tile(np.linspace(0, 1, 5)[:, None], (1, 50)))
    assert draws.std() == pytest.approx(0.35355 / math.sqrt(5), rel=0.06)


def test_bootstrap_weighs_folds_not_clips_and_repeats_itself():
    folds = ["x"] * 900 + ["y"] * 100
    values = np.array([1] * 900 + [0] * 100)
    assert draws_of(values, folds).mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(draws_of(values, folds, seed=7), draws_of(values, folds, seed=7))
    assert (draws_of(values, folds, seed=7) != draws_of(values, folds, seed=8)).any()


def test_a_paired_difference_is_sharper_than_two_intervals():
    generator = np.random.default_rng(0)
    hard = generator.random(500)
    first, second = (hard < 0.5)[None], (hard < 0.56)[None]
    weights = clip_weights([str(clip) for clip in range(500)], seed=3)
    draws = [score_draws(values, weights, ["a"] * 500, seed=3) for values in (first, second)]
    seen = difference(float(second.mean() - first.mean()), *draws)
    assert seen.low > 0 and seen.p < 0.01
    alone = [interval(each) for each in draws]
    assert alone[0][1] > alone[1][0], "the two intervals overlap, yet the paired difference is clear"
    same = difference(0.0, draws[0], draws[0])
    assert same.p == 1.0 and (same.low, same.high) == (0.0, 0.0)


def test_scores_follow_from_the_answers():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    vectors = (np.eye(3)[labels] * 2 + generator.normal(size=(60, 3))).astype(np.float32)
    folds = ["x"] * 20 + ["y"] * 30 + ["z"] * 10
    clips = [str(clip) for clip in range(60)]
    result = score_task(
        "toy", {"mean": vectors}, labels, folds, clips, ("x", "y", "z"), metric="accuracy", classes=3, split_by=clips,
        seed=0,
    )  # fmt: skip
    for measure, answers in result.answers["mean"].items():
        right = answers == labels[result.scored]
        each = [right[:, :20].mean(), right[:, 20:50].mean(), right[:, 50:].mean()]
        scores = result.scores["mean"][measure]
        assert [fold["score"] for fold in scores["folds"]] == pytest.approx(each)
        assert scores["score"] == pytest.approx(np.mean(each))
        assert scores["spread"] == pytest.approx(np.std(each, ddof=1))
        by_seed = [np.mean([row[:20].mean(), row[20:50].mean(), row[50:].mean()]) for row in right]
        assert scores["seeds"] == pytest.approx(by_seed)
        assert scores["low"] <= scores["score"] <= scores["high"]


def test_a_score_over_all_clips_together_is_not_the_mean_of_unequal_folds():
    folds = make_folds(["a", "b", "b", "b"], ["a", "b"], None)
    draws, details = np.array([0.2, 0.4]), [{}, {"chosen": 1}]
    apart = summary(folds, [[1.0, 0.0], [0.5, 0.5]], draws, details)
    assert (apart["score"], apart["seeds"]) == (0.5, [0.75, 0.25])
    together = summary(folds, [[1.0, 0.0], [0.5, 0.5]], draws, details, together_S=np.array([0.6, 0.4 - 0.1]))
    assert together["score"] == pytest.approx(0.45) and together["seeds"] == pytest.approx([0.6, 0.3])
    assert together["seed_spread"] == pytest.approx(0.3 / math.sqrt(2))
    # Folds are those of the folds, either way.
    assert together["folds"] == apart["folds"] and together["folds"][1]["clips"] == 3


def test_a_damaged_kept_task_counts_as_none(tmp_path):
    """Whatever byte is wrong: a ZIP has flags and versions that its reader refuses in words of its own."""
    kept = Kept(tmp_path)
    task = ScoredTask({"name": "x"}, {"id": np.array(["a", "b"])}, {"mean": {"knn": np.arange(3.0)}})
    kept.save("key", task)
    path = tmp_path / "key.npz"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = kept.load("key")
        assert found is None or found.result == task.result
    path.write_bytes(whole)
    assert kept.load("key").result == task.result
