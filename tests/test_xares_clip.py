"""The protocol `xares` on clips, against hand computation, PyTorch's own parts and scikit-learn."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniwhisper.core.errors import UserError
from uniwhisper.evaluation.xares import knn, order, pooling, probe, scoring
from uniwhisper.evaluation.xares.metrics import accuracy


def blobs(clips: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels_N = np.arange(clips) % classes
    vectors_ND = generator.normal(size=(clips, width)) + generator.normal(size=(classes, width))[labels_N]
    return vectors_ND.astype(np.float32), labels_N


def knn_by_hand(reference_ND, labels_N, query_D):
    column_norms_D = [sum(float(row[d]) ** 2 for row in reference_ND) ** 0.5 for d in range(len(query_D))]
    length = sum(float(value) ** 2 for value in query_D) ** 0.5
    similarity = [
        sum(float(q) / length * float(r) / norm for q, r, norm in zip(query_D, row, column_norms_D, strict=True))
        for row in reference_ND
    ]
    nearest = sorted(range(len(similarity)), key=lambda n: -similarity[n])[:10]
    votes: dict[int, float] = {}
    for n in nearest:
        votes[int(labels_N[n])] = votes.get(int(labels_N[n]), 0.0) + np.exp(similarity[n] / 0.07)
    return max(votes, key=votes.get)


def test_knn_is_the_formula_computed_by_hand():
    vectors_ND, labels_N = blobs(60, 5, 4)
    predicted_Q = knn.knn_predict(vectors_ND[:40], labels_N[:40], vectors_ND[40:])
    assert predicted_Q.tolist() == [knn_by_hand(vectors_ND[:40], labels_N[:40], query) for query in vectors_ND[40:]]


def test_knn_is_not_cosine():
    """A reference clip that is large in one feature is everybody's neighbour; by cosine it is nobody's."""
    from uniwhisper.evaluation.knn import knn_predict as cosine

    generator = np.random.default_rng(0)
    reference_ND = np.abs(generator.normal(size=(100, 8))).astype(np.float32)
    reference_ND[:10] *= 100
    labels_N = np.array([1] * 10 + [0] * 90)
    queries_QD = np.abs(generator.normal(size=(50, 8))).astype(np.float32)
    assert knn.knn_predict(reference_ND, labels_N, queries_QD).mean() == 1
    assert cosine(reference_ND, labels_N, queries_QD).mean() < 0.2


def test_knn_refuses_fewer_clips_than_neighbours():
    with pytest.raises(UserError, match="too few"):
        knn.knn_predict(np.ones((9, 2), np.float32), np.zeros(9, int), np.ones((1, 2), np.float32))


@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5), seed=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_every_epoch_shows_every_clip_once(sizes, seed):
    ends = np.cumsum([0, *sizes])
    shards = [np.arange(start, end) for start, end in pairwise(ends)]
    for clips in order.epoch_orders(shards, epochs=2, seed=seed):
        assert sorted(clips.tolist()) == list(range(ends[-1]))


def test_the_buffer_mixes_locally_only():
    """Of 10,000 clips in one shard none can come before the buffers could hold it."""
    shown = order.epoch_orders([np.arange(10_000)], epochs=1, seed=0)[0]
    place = np.empty(10_000, dtype=int)
    place[shown] = np.arange(10_000)
    # The first buffer gives from 500 clips on and takes at most two for each; the second holds at most 512 more.
    assert (np.arange(10_000) <= 2 * place + 500 + 2 * 512).all()
    assert shown[:100].max() < 2_000 < shown[-100:].min()


def test_the_order_follows_the_seed():
    shards = [np.arange(50), np.arange(50, 90)]
    first, again, other = (order.epoch_orders(shards, epochs=2, seed=seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != other[0]).any() and (first[0] != first[1]).any()


def test_a_buffer_that_holds_everything_draws_like_python():
    items = list(range(20))
    draws, waiting, expected = random.Random(3), list(items), []
    while waiting:
        place = draws.randint(0, len(waiting) - 1)
        expected.append(waiting[place])
        waiting[place] = waiting[-1]
        waiting.pop()
    assert list(order.buffer_shuffle(items, 100, 50, random.Random(3))) == expected


def torch_probe(vectors_ND, targets, run, weights, batch_clips, loss):
    """The same probe out of PyTorch's own layers, optimiser and loss."""
    normal, linear = torch.nn.LayerNorm(vectors_ND.shape[1]), torch.nn.Linear(*reversed(weights[0].shape))
    with torch.no_grad():
        linear.weight.copy_(weights[0])
        linear.bias.copy_(weights[1])
    model = torch.nn.Sequential(normal, linear)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs_ND, targets_N = torch.from_numpy(vectors_ND), torch.from_numpy(targets)
    after = []
    for epoch, rows in enumerate(run.orders):
        for group in optimiser.param_groups:
            group["lr"] = probe.learning_rate(epoch, len(run.orders))
        for batch in torch.from_numpy(rows).split(batch_clips):
            optimiser.zero_grad()
            loss(model(inputs_ND[batch]), targets_N[batch]).backward()
            optimiser.step()
        after.append(model(inputs_ND[torch.from_numpy(run.scored)]).detach().numpy())
    return after


def uneven_runs(clips: int, epochs: int) -> list[probe.ProbeRun]:
    """Folds of other sizes, so that one run is through its epoch while the other still has batches."""
    generator = np.random.default_rng(1)
    runs = []
    for cut in (20, 55):
        scored, training = np.arange(cut), np.arange(cut, clips)
        runs.append(probe.ProbeRun([generator.permutation(training) for _ in range(epochs)], scored, scored))
    return runs


def test_stacked_probes_are_what_pytorch_trains_one_by_one():
    vectors_ND, labels_N = blobs(100, 12, 5)
    runs = uneven_runs(100, epochs=4)
    weights = probe.initial_weights(2, 12, 5, epochs=10)
    answers = probe.train_probes(vectors_ND, labels_N, runs, weights=weights, batch_clips=16, score=accuracy)
    for run, weight, answer in zip(runs, weights, answers, strict=True):
        after = torch_probe(vectors_ND, labels_N, run, weight, 16, torch.nn.CrossEntropyLoss())
        np.testing.assert_allclose(answer.logits, after[answer.epoch], atol=2e-5)
        expected = [accuracy(logits_QC, labels_N[run.scored]) for logits_QC in after]
        assert list(answer.chosen_by) == expected
        assert answer.epoch == int(np.argmax(expected)), "the earliest of the best epochs"


def test_stacked_multi_label_probes_are_what_pytorch_trains():
    vectors_ND, _ = blobs(100, 12, 5)
    targets_NC = (np.random.default_rng(2).random((100, 3)) < 0.3).astype(np.float32)
    runs = uneven_runs(100, epochs=3)
    weights = probe.initial_weights(2, 12, 3, epochs=10)
    answers = probe.train_probes(
        vectors_ND, targets_NC, runs, weights=weights, batch_clips=16, score=lambda logits, _: -float(logits.mean())
    )
    for run, weight, answer in zip(runs, weights, answers, strict=True):
        after = torch_probe(vectors_ND, targets_NC, run, weight, 16, torch.nn.BCEWithLogitsLoss())
        np.testing.assert_allclose(answer.logits, after[answer.epoch], atol=2e-5)


def test_the_choosing_rows_may_be_others_than_the_scored_ones():
    vectors_ND, labels_N = blobs(100, 12, 5)
    orders = [np.arange(60)] * 3
    weights = probe.initial_weights(1, 12, 5, epochs=10)
    answers = [
        probe.train_probes(
            vectors_ND,
            labels_N,
            [probe.ProbeRun(orders, np.arange(60, 80), scored)],
            weights=weights,
            batch_clips=16,
            score=accuracy,
        )[0]
        for scored in (np.arange(80, 100), np.arange(60, 80))
    ]
    assert answers[0].chosen_by == answers[1].chosen_by
    assert answers[0].logits.shape == (20, 5)
    assert not np.allclose(answers[0].logits, answers[1].logits)


def test_the_learning_rate_is_the_published_cosine():
    rates = [round(probe.learning_rate(epoch, 10) * 1e3, 3) for epoch in range(10)]
    assert rates == [1.0, 0.978, 0.914, 0.815, 0.689, 0.55, 0.411, 0.285, 0.186, 0.122]
    assert probe.learning_rate(0, 1) == 1e-3


def test_initial_weights_are_those_of_heads_made_between_passes_over_loaders():
    """A head, then for each epoch a pass over a training and a choosing loader, then one over the scored fold."""
    epochs, expected = 3, []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        for _ in range(3):
            expected.append(torch.nn.Linear(6, 4))
            for _ in range(2 * epochs + 1):
                list(torch.utils.data.DataLoader(Numbers(), batch_size=None))
    found = probe.initial_weights(3, 6, 4, epochs=epochs)
    for layer, (weight, bias) in zip(expected, found, strict=True):
        assert torch.equal(layer.weight, weight) and torch.equal(layer.bias, bias)


class Numbers(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(range(3))


def test_initial_weights_leave_the_callers_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = probe.initial_weights(2, 4, 3, epochs=10), probe.initial_weights(1, 4, 3, epochs=10)
    assert (torch.get_rng_state() == before).all()
    assert (first[0][0] == again[0][0]).all() and (first[0][0] != first[1][0]).any()


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, 2.0), (3.0, 2.0), (None, 3.0)])
def test_the_first_crop_is_cut_or_padded(seconds, expected):
    wave_S = np.ones(48_000 if seconds is None else int(seconds * 16_000), dtype=np.float32)
    cropped_S = pooling.first_crop(wave_S, None if seconds is None else 2)
    assert len(cropped_S) == expected * 16_000
    assert cropped_S.sum() == min(len(wave_S), len(cropped_S))


def test_pooling_takes_the_padding_in():
    """Frames of 4 samples: a clip of 8 samples beside one of 16 is diluted by half, and fills no other batch."""
    waves = [np.full(8, 2.0), np.full(16, 3.0), np.full(8, 5.0)]

    def encode(wave_BS):
        return wave_BS.unfold(1, 4, 4).mean(dim=2, keepdim=True)

    assert pooling.pooled_vectors(encode, waves, batch_clips=2)[:, 0].tolist() == [1.0, 3.0, 5.0]
    assert pooling.pooled_vectors(encode, waves, batch_clips=1)[:, 0].tolist() == [2.0, 3.0, 5.0]


@pytest.mark.parametrize(("seconds", "frames"), [(1, 1500), (10, 1500), (10.01, 3000), (30, 4500), (34.9, 6000)])
def test_padded_whisper_gives_the_frames_of_the_example(tiny_model, seconds, frames):
    from uniwhisper.model.weights import load_encoder

    encode = pooling.PaddedWhisper(load_encoder(tiny_model).encoder)
    with torch.inference_mode():
        assert encode(torch.zeros(1, int(seconds * 16_000))).shape == (1, frames, 32)


def test_folds_are_trained_on_the_others_and_chosen_on_themselves():
    vectors_ND, labels_N = blobs(90, 12, 3)
    folds = [f"fold-{clip % 3}" for clip in range(90)]
    scores = scoring.score_clips(vectors_ND, labels_N, folds, seeds=(0, 1), epochs=3)
    rows = [np.flatnonzero(np.arange(90) % 3 == fold) for fold in range(3)]
    for seed in (0, 1):
        runs = [
            probe.ProbeRun(
                order.epoch_orders([rows[o] for o in range(3) if o != fold], epochs=3, seed=seed),
                rows[fold],
                rows[fold],
            )
            for fold in range(3)
        ]
        answers = probe.train_probes(
            vectors_ND,
            labels_N,
            runs,
            weights=probe.initial_weights(3, 12, 3, epochs=3),
            batch_clips=32,
            score=accuracy,
        )
        assert scores.probe_folds[seed] == pytest.approx([max(answer.chosen_by) for answer in answers])
    expected = [
        np.mean(knn.knn_predict(vectors_ND[others], labels_N[others], vectors_ND[rows[fold]]) == labels_N[rows[fold]])
        for fold in range(3)
        for others in [np.concatenate([rows[o] for o in range(3) if o != fold])]
    ]
    assert scores.knn_folds == pytest.approx(expected) and scores.knn == pytest.approx(np.mean(expected))


def test_named_splits_choose_on_one_and_score_on_another():
    vectors_ND, labels_N = blobs(90, 12, 3)
    names = ["train"] * 50 + ["dev"] * 20 + ["test"] * 20
    splits = {"train": "train", "valid": "dev", "test": "test"}
    scores = scoring.score_clips(vectors_ND, labels_N, names, splits=splits, epochs=10, batch_clips=4, with_knn=False)
    spoiled_ND = vectors_ND.copy()
    spoiled_ND[70:] = np.random.default_rng(5).normal(size=(20, 12))
    spoiled = scoring.score_clips(spoiled_ND, labels_N, names, splits=splits, epochs=10, batch_clips=4, with_knn=False)
    assert scores.knn is None and scores.knn_folds == []
    assert spoiled.probe[0] < scores.probe[0]
    unseen_ND = vectors_ND.copy()
    unseen_ND[50:70] = 0  # the choosing rows are never learned from, and one epoch leaves nothing to choose
    once = [
        scoring.score_clips(each_ND, labels_N, names, splits=splits, epochs=1, with_knn=False).probe
        for each_ND in (vectors_ND, unseen_ND)
    ]
    assert once[0] == once[1]


def test_several_labels_are_scored_by_mean_average_precision():
    from uniwhisper.evaluation.xares.metrics import mean_average_precision

    vectors_ND, labels_N = blobs(90, 12, 3)
    targets_NC = np.eye(3, dtype=np.float32)[labels_N]
    targets_NC[::7, 0] = 1
    names = ["train"] * 60 + ["test"] * 30
    splits = {"train": "train", "valid": "test", "test": "test"}
    scores = scoring.score_clips(vectors_ND, targets_NC, names, splits=splits, epochs=20, batch_clips=4, with_knn=False)
    chance = mean_average_precision(np.random.default_rng(0).normal(size=(30, 3)), targets_NC[60:])
    assert scores.probe[0] > chance + 0.2
