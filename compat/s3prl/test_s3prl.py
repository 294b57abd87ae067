import torch
from s3prl.upstream.interfaces import Featurizer, UpstreamBase

from uniwhisper.integrations.s3prl import UpstreamExpert


class Wrapped(UpstreamBase):
    """s3prl's own base class around the expert, as its hub makes it."""

    def __init__(self, ckpt):
        super().__init__()
        self.expert = UpstreamExpert(ckpt=ckpt)

    def get_downsample_rates(self, key):
        return self.expert.get_downsample_rates(key)

    def forward(self, wavs):
        return self.expert(wavs)


def test_featurizer(checkpoint, clips, record_property):
    """`s3prl.upstream.interfaces.Featurizer`: learned weighted sum over all layers, cut to each clip's length"""
    waves = [torch.from_numpy(clip) for clip in clips]
    upstream = Wrapped(checkpoint)
    featurizer = Featurizer(upstream, "hidden_states", upstream_device="cpu")
    assert (featurizer.output_dim, featurizer.downsample_rate) == (32, 320)
    features = featurizer(waves, upstream(waves))
    record_property("layers", len(featurizer.weights))
    assert [feature.shape[0] for feature in features] == [round(len(wave) / 320) for wave in waves]
    sum(feature.square().sum() for feature in features).backward()
    assert featurizer.weights.grad.abs().sum() > 0


def test_layers(checkpoint, clips):
    """Each hidden state equals the encoder's layer of the same number."""
    expert = UpstreamExpert(ckpt=checkpoint)
    from uniwhisper import Embedder

    hidden = expert([torch.from_numpy(clips[1])])["hidden_states"]
    for layer, states in enumerate(hidden):
        frames = Embedder.from_pretrained(checkpoint, device="cpu", layer=layer).frames((clips[1], 16_000)).vectors
        torch.testing.assert_close(states[0].detach(), torch.from_numpy(frames), atol=1e-5, rtol=0)
