"""The other task types of the protocol `xares`: metrics against libraries, training on small data in real layouts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniwhisper.core.errors import OutputError, UserError
from uniwhisper.evaluation.xares import average, frame, frames, metrics, order, pooling, probe, retrieval, targets


def random_frames(seed: int, frames: int, classes: int, share: float = 0.2) -> np.ndarray:
    return (np.random.default_rng(seed).random((frames, classes)) < share).astype(np.int8)


# metrics ----------------------------------------------------------------------------------------------------------


def test_mean_average_precision_is_scikit_learns_and_the_hand_formula():
    from sklearn.metrics import average_precision_score

    generator = np.random.default_rng(0)
    logits_QC, targets_QC = generator.normal(size=(50, 4)), random_frames(1, 50, 4)
    by_hand = []
    for class_logits, class_targets in zip(logits_QC.T, targets_QC.T, strict=True):
        ranked = class_targets[np.argsort(-class_logits)]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        by_hand.append(precision[ranked == 1].mean())
    ours = metrics.mean_average_precision(logits_QC, targets_QC)
    assert ours == pytest.approx(np.mean(by_hand))
    assert ours == pytest.approx(average_precision_score(targets_QC, logits_QC, average="macro"))


@given(st.integers(1, 60), st.sampled_from([(0.02, 1.0), (0.04, 0.1), (0.04, 1.0), (0.02, 0.1)]))
@settings(max_examples=30, deadline=None)
def test_segments_are_max_pooling_in_pytorch(frames, lengths):
    hop_seconds, segment_seconds = lengths
    frames_TC = random_frames(frames, 7 * frames, 3)
    size = {(0.02, 1.0): 50, (0.04, 0.1): 3, (0.04, 1.0): 25, (0.02, 0.1): 5}[lengths]
    cut_SC = metrics.segments(frames_TC, hop_seconds=hop_seconds, segment_seconds=segment_seconds)
    if len(frames_TC) < size:
        assert cut_SC.shape == (0, 3)
        return
    pooled_CS = torch.nn.functional.max_pool1d(torch.from_numpy(frames_TC.T.astype(np.float32))[None], size)[0]
    np.testing.assert_array_equal(cut_SC, pooled_CS.numpy().T)


def test_segment_f1_by_hand():
    predicted_SC = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    targets_SC = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    # class 0: 1 hit, 1 false, 1 missed: 0.5. class 1: 2 hits: 1. class 2: never there: 0.
    assert metrics.segment_f1(predicted_SC, targets_SC, average="macro") == pytest.approx(0.5)
    assert metrics.segment_f1(predicted_SC, targets_SC, average="micro") == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))


def test_one_half_is_no():
    assert metrics.decide(np.array([[-1.0, 0.0, 1e-3]])).tolist() == [[0, 0, 1]]


def test_recall_at_1_by_hand():
    """Three clips on axes. The texts of clip 1 lie at clip 0, but one of them at clip 1."""
    audio_ND = np.eye(3)
    texts_MD = np.repeat(np.eye(3), 5, axis=0)
    texts_MD[5:9] = [1, 0, 0]
    assert metrics.recall_at_1(3 * audio_ND, texts_MD) == pytest.approx((1 + 11 / 15) / 2)
    texts_MD[9] = [0, 0, 1]
    # Now no text lies at clip 1, so its first is clip 0's; and clip 2's first is the one of clip 1 that lies there too.
    assert metrics.recall_at_1(audio_ND, texts_MD) == pytest.approx((1 / 3 + 10 / 15) / 2)


def test_word_errors_are_counted_over_the_corpus_in_lower_case():
    references, hypotheses = ["ONE TWO THREE", "FOUR"], ["one two", "five six"]
    # one deletion; one substitution and one insertion: 3 errors in 4 words
    assert metrics.inverse_word_error_rate(references, hypotheses) == pytest.approx(1 - 3 / 4)
    assert metrics.inverse_word_error_rate(["a"], ["b c d"]) == 0


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        before, row = row, [i, *row[1:]]
        for j, other in enumerate(hypothesis, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return row[-1]


@given(st.lists(st.tuples(st.lists(st.sampled_from("abc"), min_size=1), st.lists(st.sampled_from("abc"))), min_size=1))
@settings(max_examples=50, deadline=None)
def test_word_errors_are_the_edit_distance(pairs):
    errors = sum(edit_distance(reference, hypothesis) for reference, hypothesis in pairs)
    expected = max(0.0, 1 - errors / sum(len(reference) for reference, _ in pairs))
    joined = [[" ".join(side) for side in sides] for sides in zip(*pairs, strict=True)]
    assert metrics.inverse_word_error_rate(*joined) == pytest.approx(expected)


# targets ----------------------------------------------------------------------------------------------------------


def test_events_in_the_layout_of_desed():
    events = [
        {"onset": 0.0, "offset": 10.0, "label": "Dog,Speech"},
        {"onset": 1.01, "offset": 2.0, "label": "Cat"},
    ]
    target_TC = targets.event_frames(events, hop_seconds=0.02)
    assert target_TC.shape == (500, 10)
    assert target_TC.sum(axis=0).tolist() == [100 - 51, 500, 0, 0, 0, 0, 0, 0, 500, 0]
    assert target_TC[50, 0] == 0 and target_TC[51, 0] == 1
    with pytest.raises(UserError, match="no class"):
        targets.event_frames([{"onset": 0, "offset": 1, "label": "Horse"}], hop_seconds=0.02)


def test_notes_in_the_layout_of_maestro():
    notes = [{"start": 0.5, "end": 1.0, "note": 21}, {"start": 0.9, "end": 1.2, "note": 107}]
    target_TC = targets.note_frames(notes, hop_seconds=0.04)
    assert target_TC.shape == (30, 87)
    assert target_TC[:, 0].nonzero()[0].tolist() == list(range(13, 25))
    assert target_TC[:, 86].nonzero()[0].tolist() == list(range(23, 30))
    with pytest.raises(UserError, match="no class"):
        targets.note_frames([{"start": 0, "end": 1, "note": 108}], hop_seconds=0.04)


def test_targets_are_cut_or_continued():
    target_TC = np.ones((4, 2), dtype=np.float32)
    assert targets.fit_length(target_TC, 3).shape == (3, 2)
    assert targets.fit_length(target_TC, 6)[:, 0].tolist() == [1, 1, 1, 1, 0, 0]


# frames and frame-level tasks -------------------------------------------------------------------------------------


def test_stored_frames_are_those_of_the_encoder_and_stay_on_disk(tmp_path):
    """Three batches of clips, frames of 4 samples; each clip has the frames of its batch's longest."""
    waves = [np.full(length, float(number + 1), dtype=np.float32) for number, length in enumerate((8, 16, 4, 4, 12))]

    def encode(wave_BS):
        return wave_BS.unfold(1, 4, 4)

    stored = frames.store_frames(encode, pooling.padded_batches(waves, 2), tmp_path / "frames")
    assert stored.counts_N.tolist() == [4, 4, 1, 1, 3] and stored.width == 4 and len(stored) == 5
    for index, wave_S in enumerate(waves):
        padded_S = np.pad(wave_S, (0, 4 * int(stored.counts_N[index]) - len(wave_S)))
        np.testing.assert_array_equal(stored[index], padded_S.reshape(-1, 4))
        assert isinstance(stored[index], np.memmap)
    assert stored.bytes_N.tolist() == [64, 64, 16, 16, 48]
    with pytest.raises(IndexError):
        stored[5]


def test_a_disk_without_room_is_one_error(tmp_path):
    with pytest.raises(OutputError, match="frames cannot be kept"):
        frames.store_frames(lambda wave_BS: wave_BS[..., None], [torch.zeros(1, 4)], tmp_path / "absent" / "frames")


def test_shards_close_at_a_number_of_clips_or_3_gb():
    assert [len(shard) for shard in order.stored_shards([10] * 4500)] == [2000, 2000, 500]
    assert [len(shard) for shard in order.stored_shards([10] * 1100, most_clips=500)] == [500, 500, 100]
    # 1.6 GB each: a shard is closed when it has passed 3 GB.
    shards = order.stored_shards([1_600_000_000] * 5)
    assert [shard.tolist() for shard in shards] == [[0, 1], [2, 3], [4]]
    assert order.stored_shards([]) == []


def test_padding_comes_with_counts():
    frames_BTD, counts_B = frames.padded_frames([np.ones((2, 3)), np.ones((4, 3))])
    assert frames_BTD.shape == (2, 4, 3) and counts_B.tolist() == [2, 4]
    assert frames_BTD.sum(axis=(1, 2)).tolist() == [6, 12]


def sounding_clips(count: int, classes: int, seed: int, *, width: int = 64) -> frame.FrameClips:
    """Clips of 2 s at 20 ms whose frames show (noisily, through a fixed matrix) which classes sound."""
    generator, mix = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(classes, width))
    shown, wanted = [], []
    for _ in range(count):
        events = [
            {"onset": start / 10, "offset": start / 10 + 0.8, "label": targets.DESED_CLASSES[label]}
            for start, label in zip(generator.integers(0, 12, 3), generator.integers(0, classes, 3), strict=True)
        ]
        target_TC = targets.event_frames(events, targets.DESED_CLASSES[:classes], hop_seconds=0.02, seconds=2)
        wanted.append(target_TC)
        shown.append((target_TC @ mix * 3 + generator.normal(size=(100, width))).astype(np.float32))
    return frame.FrameClips(shown, wanted)


TASK = frame.FrameTask(classes=4, segment_seconds=0.1, average="macro", batch_clips=1, epochs=30)


def test_a_frame_probe_learns_what_sounds():
    training, scored = sounding_clips(40, 4, 0), sounding_clips(10, 4, 1)
    orders = order.epoch_orders([np.arange(40)], epochs=TASK.epochs, seed=0)
    answer = frame.frame_probe(
        TASK,
        training,
        scored,
        scored,
        orders=orders,
        hop_seconds=0.02,
        weights=probe.initial_weights(1, 64, 4, epochs=10)[0],
    )
    assert answer.score == max(answer.chosen_by) == answer.chosen_by[answer.epoch]
    assert answer.score > 0.7
    shuffled = frame.FrameClips(training.frames, training.targets[::-1])
    confused = frame.frame_probe(
        TASK,
        shuffled,
        scored,
        scored,
        orders=orders,
        hop_seconds=0.02,
        weights=probe.initial_weights(1, 64, 4, epochs=10)[0],
    )
    assert confused.score < answer.score - 0.2


def test_a_frame_score_is_that_of_pytorch_and_scikit_learn():
    from sklearn.metrics import f1_score

    clips = sounding_clips(6, 4, 2)
    torch.manual_seed(0)
    head = torch.nn.Linear(64, 4)
    predicted, wanted = [], []
    for index, target_TC in enumerate(clips.targets):
        logits_TC = head(torch.from_numpy(clips.frames[index]))
        for frames_TC, into in ((logits_TC.sigmoid().round(), predicted), (torch.from_numpy(target_TC), wanted)):
            into.append(torch.nn.functional.max_pool1d(frames_TC.T[None], 5)[0].T.detach().numpy())
    expected = f1_score(np.concatenate(wanted), np.concatenate(predicted), average="macro", zero_division=0)
    assert frame.frame_score(head, TASK, clips, hop_seconds=0.02) == pytest.approx(expected)


def test_positives_weigh_more_in_maestro():
    """One epoch at weight 10 predicts more notes than at weight 1."""
    training = sounding_clips(8, 4, 3)
    found = []
    for weight in (1.0, 10.0):
        task = frame.FrameTask(
            classes=4, segment_seconds=0.1, average="micro", batch_clips=1, epochs=2, positive_weight=weight
        )
        answer = frame.frame_probe(
            task,
            training,
            training,
            training,
            orders=[np.arange(8)] * 2,
            hop_seconds=0.02,
            weights=probe.initial_weights(1, 64, 4, epochs=10)[0],
        )
        found.append(answer.score)
    assert found[0] != found[1]


# retrieval --------------------------------------------------------------------------------------------------------


def captioned(count: int, seed: int) -> retrieval.CaptionedClips:
    """Clips of one of 6 kinds per place; the captions name the clip's two kinds among filler tokens."""
    generator, mix = np.random.default_rng(seed), np.random.default_rng(98).normal(size=(12, 16))
    kinds = np.stack([generator.integers(0, 6, count), generator.integers(6, 12, count)], axis=1)
    vectors_ND = (mix[kinds].sum(axis=1) + 0.1 * generator.normal(size=(count, 16))).astype(np.float32)
    captions = [[int(kind) for kind in kinds[clip]] + [12 + extra] for clip in range(count) for extra in range(5)]
    return retrieval.CaptionedClips(vectors_ND, captions)


def test_retrieval_learns_to_pair():
    training, scored = captioned(150, 0), captioned(12, 1)
    orders = order.epoch_orders([np.arange(150)], epochs=8, seed=0, captions=5)
    assert sorted(orders[0].tolist()) == list(range(750))
    answer = retrieval.train_retrieval(
        training, scored, scored, orders=orders, vocabulary=17, batch_pairs=64, hidden_width=32
    )
    untrained = retrieval.retrieval_score(retrieval.TwoTowers(16, 17, 32), scored)
    assert answer.score == answer.chosen_by[answer.epoch] == max(answer.chosen_by)
    assert answer.score > 0.5 > untrained


def test_the_retrieval_loss_by_hand():
    towers = retrieval.TwoTowers(4, 5, 3)
    audio_BH, text_BH = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 6, 3)))
    similarity = audio_BH @ text_BH.T / 0.07
    rows, columns = similarity.exp(), similarity.T.exp()
    contrast = -torch.stack([(m.diag() / m.sum(dim=1)).log().mean() for m in (rows, columns)]).mean()
    penalty = sum(side.abs().mean() / side.norm() for side in (audio_BH, text_BH))
    assert towers.loss(audio_BH, text_BH).item() == pytest.approx((contrast + penalty).item(), rel=1e-6)


def test_padding_of_captions_has_no_effect():
    towers = retrieval.TwoTowers(4, 9, 8)
    alone = towers.embed_text(torch.tensor([[3, 4]]), torch.tensor([2]))
    padded = towers.embed_text(torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]]), torch.tensor([2, 4]))[:1]
    torch.testing.assert_close(alone, padded)


# averages ---------------------------------------------------------------------------------------------------------


def test_the_published_averages_follow_or_not():
    found = {(entry.name, entry.encoder): entry for entry in average.recompute()}
    assert len(found) == 16
    assert all(entry.follows == ("kNN" in name) for (name, _), entry in found.items())
    assert found["public tasks, MLP", "dasheng"].recomputed == pytest.approx(0.6939, abs=5e-5)
    assert found["public tasks, MLP", "whisper"].recomputed == pytest.approx(0.6264, abs=5e-5)
    assert found["all tasks, kNN", "data2vec"].recomputed == pytest.approx(0.4549, abs=5e-5)
    assert average.table(list(found.values())).count("| no, -0.00") == 8


def test_the_weights_are_those_of_22_tasks():
    weights = average.weights()
    assert len(weights) == 22 and sum(weights.values()) == 38_752
    with_knn = [task["weight"] for task in average.published()["tasks"] if task["knn"]]
    assert len(with_knn) == 16 and sum(with_knn) == 22_889


def test_a_weighted_average_covers_the_tasks_that_were_run():
    weights = {"a": 100, "b": 300, "c": 1000}
    assert average.weighted_average({"a": 0.8, "b": 0.4}, weights) == pytest.approx(0.5)
    with pytest.raises(KeyError):
        average.weighted_average({"d": 1.0}, weights)
