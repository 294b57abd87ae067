import numpy as np
import soundfile
from sentence_transformers import SentenceTransformer

from uniwhisper.integrations.sentence_transformers import load


def as_dicts(clips):
    return [{"audio": {"array": clip, "sampling_rate": 16_000}} for clip in clips]


def test_folder(checkpoint, clips, ours, record_property):
    """`SentenceTransformer(folder, trust_remote_code=True).encode([{"audio": …}])` equals `Embedder.embed`."""
    model = SentenceTransformer(checkpoint, trust_remote_code=True, device="cpu")
    vectors = model.encode(as_dicts(clips))
    difference = float(np.abs(vectors - ours).max())
    record_property("largest difference", f"{difference:.1e}")
    assert vectors.shape == ours.shape and difference <= 1e-5
    assert model.get_embedding_dimension() == ours.shape[1]


def test_batch_size_and_order(checkpoint, clips, ours):
    """The same alone, in batches of 2 and in another order."""
    model = load(checkpoint, device="cpu")
    np.testing.assert_allclose(model.encode(as_dicts(clips[::-1]), batch_size=2), ours[::-1], atol=1e-5)
    np.testing.assert_allclose(model.encode(as_dicts(clips[:1])), ours[:1], atol=1e-5)


def test_other_inputs(checkpoint, clips, ours, tmp_path):
    """Paths, arrays and stereo are read."""
    model = load(checkpoint, device="cpu")
    soundfile.write(tmp_path / "clip.wav", clips[0], 16_000, subtype="FLOAT")
    stereo = {"array": np.stack([clips[0], clips[0]]), "sampling_rate": 16_000}
    for source in (str(tmp_path / "clip.wav"), clips[0], stereo):
        np.testing.assert_allclose(model.encode([source]), ours[:1], atol=1e-5)


def test_frames(checkpoint, clips):
    """`output_value="token_embeddings"` gives one vector per 20 ms."""
    model = load(checkpoint, device="cpu")
    frames = model.encode(as_dicts(clips[:3]), output_value="token_embeddings")
    assert [len(each) for each in frames] == [50, 250, 15]


def test_saved_and_loaded(checkpoint, clips, ours, tmp_path):
    """`save_pretrained`, then both libraries read the folder."""
    from uniwhisper import Embedder

    load(checkpoint, device="cpu").save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    np.testing.assert_allclose(again.encode(as_dicts(clips[:2])), ours[:2], atol=1e-5)
    embedder = Embedder.from_pretrained(tmp_path / "saved", device="cpu")
    assert embedder.identity["weights"] == Embedder.from_pretrained(checkpoint, device="cpu").identity["weights"]
