"""The encoder equals the original at its window, and gives a clip the same frames whatever stands beside it."""

import sys
from copy import deepcopy
from dataclasses import replace
from importlib import invalidate_caches

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uniwhisper.core.errors import MissingExtraError
from uniwhisper.core.units import WINDOW_FRAMES, WINDOW_MELS
from uniwhisper.features.logmel import log_mel
from uniwhisper.model import attention
from uniwhisper.model.attention import attend, attend_by_length, attend_packed, attend_padded
from uniwhisper.model.checkpoint_formats import HUGGING_FACE
from uniwhisper.model.config import WHISPER_SIZES, EncoderConfig
from uniwhisper.model.encoder import WhisperEncoder
from uniwhisper.model.gelu import Gelu
from uniwhisper.model.packing import Packing
from uniwhisper.model.pooling import masked_mean
from uniwhisper.model.weights import load_encoder, random_encoder
from whisper_reference import SMALL, reference, scramble, write_hugging_face

MINIATURE = EncoderConfig(mel_bins=5, width=16, heads=2, layers=3, max_frames=20)
# Some sizes differ in nothing but their names.
DISTINCT = {replace(config, layers=2): size for size, config in WHISPER_SIZES.items()}
FULL_DEPTH = {config: size for size, config in WHISPER_SIZES.items()}.values()


def batch(counts: list[int], mel_bins: int, *, garbage: float = float("nan"), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random mels, `garbage` in the padding."""
    generator = torch.Generator().manual_seed(seed)
    mel_BMF = torch.full((len(counts), mel_bins, max(counts)), garbage)
    for clip, count in zip(mel_BMF, counts, strict=True):
        clip[:, :count] = torch.randn(mel_bins, count, generator=generator)
    return mel_BMF, torch.tensor(counts)


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest relative L2 distance between the rows of two matrices."""
    return ((got - expected).norm(dim=-1) / expected.norm(dim=-1)).max().item()


def miniature(seed: int = 0) -> WhisperEncoder:
    encoder = WhisperEncoder(MINIATURE).eval()
    scramble(encoder, seed)
    return encoder


def largest_differences(encoder: WhisperEncoder, mel_BMF: Tensor, counts_B: Tensor) -> tuple[float, float]:
    """Each clip alone against the same clip in the batch: per frame, and per pooled vector."""
    frames_BTD, frame_counts_B = encoder(mel_BMF, counts_B)
    vectors_BD = masked_mean(frames_BTD, frame_counts_B)
    per_frame, per_vector = 0.0, 0.0
    for i, count in enumerate(counts_B.tolist()):
        alone_BTD, alone_counts_B = encoder(mel_BMF[i : i + 1, :, :count], counts_B[i : i + 1])
        per_frame = max(per_frame, relative(frames_BTD[i, : frame_counts_B[i]], alone_BTD[0]))
        per_vector = max(per_vector, relative(vectors_BD[i : i + 1], masked_mean(alone_BTD, alone_counts_B)))
    return per_frame, per_vector


@pytest.mark.parametrize("config", DISTINCT, ids=DISTINCT.values())
@torch.no_grad()
def test_equals_transformers_at_the_window(config, tmp_path):
    model = reference(config)
    encoder = load_encoder(write_hugging_face(model, tmp_path / "whisper", "model.encoder.")).encoder
    mel_BMF, counts_B = batch([WINDOW_MELS], config.mel_bins)
    frames_BTD, frame_counts_B = encoder(mel_BMF, counts_B)
    assert frame_counts_B.tolist() == [WINDOW_FRAMES]
    torch.testing.assert_close(frames_BTD, model.encoder(mel_BMF).last_hidden_state, atol=1e-4, rtol=0)


@torch.no_grad()
def test_layers_are_those_of_transformers(tmp_path):
    model = reference(SMALL)
    encoder = load_encoder(write_hugging_face(model, tmp_path / "whisper", "encoder.")).encoder
    mel_BMF, counts_B = batch([WINDOW_MELS], SMALL.mel_bins)
    seen = []
    for layer in model.encoder.layers:
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append([*args, *kwargs.values()][0]), with_kwargs=True
        )
        layer.register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
    last = model.encoder(mel_BMF).last_hidden_state
    stem, first, _, second = seen
    for layer, expected in ((0, stem), (1, first), (2, second), (None, last)):
        torch.testing.assert_close(encoder(mel_BMF, counts_B, layer=layer)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layer", [-1, 4])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(ValueError, match=f"layer from 0 to 3, or None, got {layer}"):
        miniature()(*batch([4], 5), layer=layer)


@torch.no_grad()
def test_a_short_clip_equals_a_whisper_whose_window_is_that_long():
    model = reference(SMALL)
    encoder = WhisperEncoder(SMALL).eval()
    theirs = model.encoder.state_dict()
    encoder.load_state_dict({name: theirs[HUGGING_FACE.translate(name)] for name in encoder.state_dict()})
    counts = [2, 48, 700, 310]
    mel_BMF, counts_B = batch(counts, SMALL.mel_bins)
    frames_BTD, _ = encoder(mel_BMF, counts_B)
    for i, count in enumerate(counts):
        shorter = reference(replace(SMALL, max_frames=count // 2)).encoder
        shorter.load_state_dict(theirs | {"embed_positions.weight": theirs["embed_positions.weight"][: count // 2]})
        expected = shorter(mel_BMF[i : i + 1, :, :count]).last_hidden_state[0]
        torch.testing.assert_close(frames_BTD[i, : count // 2], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", ["tiny", "base"])
@torch.no_grad()
def test_alone_and_beside_longer_clips_at_full_depth(size):
    encoder = random_encoder(size, seed=0).encoder
    scramble(encoder, seed=1)
    per_frame, per_vector = largest_differences(encoder, *batch([WINDOW_MELS, 1, 2, 499, 500, 1601], 80))
    assert per_frame <= 1e-5
    assert per_vector <= 1e-5


counts_of_clips = st.lists(st.integers(1, 2 * MINIATURE.max_frames), min_size=1, max_size=6)


@given(
    counts=counts_of_clips, garbage=st.sampled_from([float("nan"), float("inf"), -3e38, 0.0]), layer=st.integers(0, 4)
)
@settings(deadline=None)
@torch.no_grad()
def test_what_lies_in_the_padding_has_no_effect(counts, garbage, layer):
    encoder = miniature()
    layer = None if layer == 4 else layer
    mel_BMF, counts_B = batch(counts, MINIATURE.mel_bins, garbage=garbage)
    wider_BMF = torch.cat([mel_BMF, torch.full((len(counts), MINIATURE.mel_bins, 3), garbage)], dim=2)
    frames_BTD, frame_counts_B = encoder(wider_BMF, counts_B, layer=layer)
    assert frame_counts_B.tolist() == [(count + 1) // 2 for count in counts]
    assert frames_BTD.shape == (len(counts), max(frame_counts_B), MINIATURE.width)
    for i, count in enumerate(counts):
        alone_BTD, _ = encoder(mel_BMF[i : i + 1, :, :count], counts_B[i : i + 1], layer=layer)
        assert relative(frames_BTD[i, : frame_counts_B[i]], alone_BTD[0]) <= 1e-5
        assert not frames_BTD[i, frame_counts_B[i] :].any()


@given(counts=counts_of_clips, causal=st.booleans())
@settings(deadline=None)
def test_both_ways_of_attending_agree_with_the_formula(counts, causal):
    packing = Packing.of(counts, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, packing.total, 2, 8, generator=generator)
    expected = []
    for q_PJK, k_PJK, v_PJK in zip(*(x.split(counts) for x in (query, key, value)), strict=True):
        scores_JPP = torch.einsum("pjk,qjk->jpq", q_PJK, k_PJK) / 8**0.5
        if causal:
            scores_JPP = scores_JPP.masked_fill(torch.ones(len(q_PJK), len(q_PJK)).triu(1).bool(), -torch.inf)
        expected.append(torch.einsum("jpq,qjk->pjk", scores_JPP.softmax(dim=2), v_PJK))
    for way in (attend_by_length, attend_padded):
        got = way(query, key, value, packing, causal=causal)
        torch.testing.assert_close(got, torch.cat(expected), atol=1e-5, rtol=0)


@pytest.fixture
def flash4(tmp_path, monkeypatch):
    """Where a stand-in for the package is written, on a card of a generation that it is used on."""
    (tmp_path / "flash_attn" / "cute").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    attention._flash4.cache_clear()
    yield tmp_path / "flash_attn" / "cute" / "__init__.py"
    attention._flash4.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "flash_attn"]:
        del sys.modules[name]


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_4_is_told_where_clips_begin(flash4, causal):
    flash4.write_text(
        "def flash_attn_varlen_func(q, k, v, **told):\n    calls.append(told)\n    return q - k + v, None\ncalls = []\n"
    )
    packing, (query, key, value) = Packing.of([3, 5], torch.device("cpu")), torch.randn(3, 8, 2, 8)
    assert torch.equal(attend_packed(query, key, value, packing, causal=causal), query - key + value)
    (told,) = sys.modules["flash_attn.cute"].calls
    offsets = [told.pop(name) for name in ("cu_seqlens_q", "cu_seqlens_k")]
    assert [each.tolist() for each in offsets] == [[0, 3, 8]] * 2 and {each.dtype for each in offsets} == {torch.int32}
    assert told == {"max_seqlen_q": 5, "max_seqlen_k": 5, "causal": causal}


def test_flash_attention_4_is_for_training_on_cards_and_heads_it_knows(flash4, monkeypatch):
    flash4.write_text("def flash_attn_varlen_func(): ...\n")
    known, *unknown = (torch.zeros(8, 2, width) for width in (64, 4, 20, 256))
    assert attention._trained_by(known) is not None
    assert [attention._trained_by(each) for each in unknown] == [None] * 3
    with torch.no_grad():
        assert attention._trained_by(known) is None
    attention._flash4.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert attention._trained_by(known) is None


def test_flash_attention_4_is_not_needed_but_must_not_be_broken(flash4):
    query = torch.zeros(8, 2, 64)
    flash4.parent.rmdir()  # flash attention 2 is a package of the same name
    assert attention._trained_by(query) is None
    attention._flash4.cache_clear()
    flash4.parent.mkdir()
    flash4.write_text("import a_part_that_is_missing\n")
    invalidate_caches()
    with pytest.raises(MissingExtraError, match=r"a_part_that_is_missing.*\n.*pip install --pre"):
        attention._trained_by(query)


def test_flash_attention_4_is_given_fewer_heads_of_keys_and_values_as_they_are(flash4):
    flash4.write_text("def flash_attn_varlen_func(q, k, v, **_):\n    return (q, k, v), None\n")
    packing, query, keys = Packing.of([3, 5], torch.device("cpu")), torch.randn(8, 4, 8), torch.randn(2, 8, 2, 8)
    for got, given_ in zip(attend_packed(query, *keys, packing), (query, *keys), strict=True):
        assert got is given_ or torch.equal(got, given_)


@given(counts=counts_of_clips, heads=st.integers(1, 3), times=st.integers(1, 3), causal=st.booleans())
@settings(deadline=None)
def test_neighbouring_heads_share_keys_and_values(counts, heads, times, causal):
    """Against attention of each head of the query by itself, clip by clip."""
    packing = Packing.of(counts, torch.device("cpu"))
    query_PJK, keys_PGK = torch.randn(packing.total, heads * times, 8), torch.randn(2, packing.total, heads, 8)
    mixed_PJK = attend(query_PJK, *keys_PGK, packing, causal=causal)
    for head in range(heads * times):
        key_PK, value_PK = keys_PGK[:, :, head // times]
        for rows in torch.arange(packing.total).split(counts):
            scores_PP = query_PJK[rows, head] @ key_PK[rows].T / 8**0.5
            if causal:
                scores_PP = scores_PP.masked_fill(torch.ones_like(scores_PP, dtype=torch.bool).triu(1), -torch.inf)
            expected_PK = scores_PP.softmax(1) @ value_PK[rows]
            torch.testing.assert_close(mixed_PJK[rows, head], expected_PK, atol=1e-5, rtol=0)


@given(counts=counts_of_clips)
@settings(deadline=None)
def test_packing_there_and_back(counts):
    packing = Packing.of(counts, torch.device("cpu"))
    rows_PD = torch.randn(packing.total, 3)
    padded_BTD = packing.unpack(rows_PD)
    assert padded_BTD.shape == (len(counts), max(counts), 3)
    assert torch.equal(packing.pack(padded_BTD), rows_PD)
    for clip, count in enumerate(counts):
        assert not padded_BTD[clip, count:].any()
    wider_BTD = torch.nn.functional.pad(padded_BTD, (0, 0, 0, 2), value=float("nan"))
    assert torch.equal(packing.pack(wider_BTD), rows_PD)
    assert packing.offsets_B1.tolist() == [0, *torch.tensor(counts).cumsum(0).tolist()]


@torch.inference_mode()
@pytest.mark.usefixtures("traced_only")
def test_other_batch_shapes_compile_nothing_anew():
    plain = miniature()
    compiled = deepcopy(plain)
    compiled.compile()
    compiled(*batch([20, 31], MINIATURE.mel_bins))
    # First half, between two blocks, and the end with its norm.
    assert torch._dynamo.utils.counters["frames"]["ok"] == 3
    with torch.compiler.set_stance("fail_on_recompile"):
        for counts in ([40, 3, 17], [8] * 5, [7], [40] * 2, [3, 2]):
            clips = batch(counts, MINIATURE.mel_bins)
            assert relative(compiled(*clips)[0].flatten(0, 1) + 1, plain(*clips)[0].flatten(0, 1) + 1) <= 1e-6


@pytest.mark.usefixtures("traced_only")
@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_joined_blocks_are_the_blocks_in_turn(layer):
    """Frames and gradients; and a hook sees a block that is kept apart."""
    plain, seen = miniature(), []
    compiled = deepcopy(plain)
    compiled.compile()
    clips = batch([20, 31], MINIATURE.mel_bins)

    def frames_and_gradients(encoder: WhisperEncoder) -> list[Tensor]:
        encoder.zero_grad()
        frames_BTD, _ = encoder(*clips, layer=layer)
        frames_BTD.square().sum().backward()
        return [frames_BTD.detach(), *(p.grad for p in encoder.parameters() if p.grad is not None)]

    expected = frames_and_gradients(plain)
    for block in compiled.blocks:
        block.register_forward_hook(lambda *_: seen.append(1))
    for apart in (False, True):
        if apart:
            compiled.keep_blocks_apart()
        for got, want in zip(frames_and_gradients(compiled), expected, strict=True):
            torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)
        assert len(seen) == (len(compiled.blocks[:layer]) if apart else 0)


@given(values=st.lists(st.floats(-30, 30), min_size=1, max_size=20))
@settings(deadline=None)
def test_gelu_is_exact_but_in_half_precision(values):
    """Against the error function in float64; the tanh form differs by 5e-4, and bfloat16 rounds."""
    x_N = torch.tensor(values, dtype=torch.float64)
    exact_N = x_N * torch.special.ndtr(x_N)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        torch.testing.assert_close(Gelu()(x_N.to(dtype)).double(), exact_N, atol=tolerance, rtol=1e-5)
    half_N = x_N.bfloat16()
    exact_N = half_N.double() * torch.special.ndtr(half_N.double())
    with pytest.MonkeyPatch.context() as patch:
        for compiling in (False, True):
            patch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
            torch.testing.assert_close(Gelu()(half_N).double(), exact_N, atol=1e-3, rtol=2**-8)


def test_gradients_are_the_sum_of_those_of_the_clips_alone():
    encoder = miniature().double()
    counts = [40, 3, 3, 17]
    mel_BMF, counts_B = batch(counts, MINIATURE.mel_bins)
    mel_BMF = mel_BMF.double()

    def gradients(*clips: tuple[Tensor, Tensor]) -> list[Tensor]:
        encoder.zero_grad()
        for clip in clips:
            masked_mean(*encoder(*clip)).square().sum().backward()
        return [parameter.grad.clone() for parameter in encoder.parameters()]

    together = gradients((mel_BMF, counts_B))
    alone = gradients(*((mel_BMF[i : i + 1, :, :n], counts_B[i : i + 1]) for i, n in enumerate(counts)))
    for got, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


def test_positions_are_never_trained():
    encoder = miniature()
    assert "positions_TD" in encoder.state_dict()
    assert "positions_TD" not in dict(encoder.named_parameters())


def test_bfloat16_autocast_trains():
    encoder = miniature().train()
    mel_BMF, counts_B = batch([40, 3, 17], MINIATURE.mel_bins)
    exact_BTD, _ = encoder(mel_BMF, counts_B)
    with torch.autocast("cpu", torch.bfloat16):
        frames_BTD, _ = encoder(mel_BMF, counts_B)
    assert frames_BTD.dtype == torch.float32
    torch.testing.assert_close(frames_BTD, exact_BTD, atol=0.1, rtol=0)
    frames_BTD.square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("mel_shape", "counts", "message"),
    [
        ((1, 4, 10), [10], r"expected log-mel \(B, 5, F\), got \(1, 4, 10\)"),
        ((5, 10), [10], r"expected log-mel \(B, 5, F\), got \(5, 10\)"),
        ((2, 5, 10), [10], "an integer per clip"),
        ((1, 5, 10), [10.0], "an integer per clip"),
        ((0, 5, 10), [], "an integer per clip"),
        ((2, 5, 10), [0, 4], "counts from 1 to 10 mels, got 0 to 4"),
        ((2, 5, 10), [4, 11], "counts from 1 to 10 mels, got 4 to 11"),
        ((1, 5, 41), [41], "at most 40 mels, got 41: cut longer audio into windows"),
    ],
)
def test_input_that_does_not_fit_is_refused(mel_shape, counts, message):
    with pytest.raises(ValueError, match=message):
        miniature()(torch.zeros(mel_shape), torch.tensor(counts))


def test_masked_mean_by_hand():
    frames_BTD = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 7.0], [float("nan"), float("inf")]]])
    vectors_BD = masked_mean(frames_BTD, torch.tensor([2, 1]))
    assert vectors_BD.tolist() == [[2.0, 4.0], [5.0, 7.0]]


def test_masked_mean_of_half_precision_is_summed_in_float32():
    frames_BTD = torch.full((1, 1500, 1), 100.0, dtype=torch.float16)  # the sum overflows float16
    assert masked_mean(frames_BTD, torch.tensor([1500])).item() == 100.0


@pytest.fixture
def exact_float32():
    """TF32 off for matrix products and convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.gpu
@pytest.mark.parametrize("size", FULL_DEPTH)
@torch.no_grad()
def test_alone_and_beside_longer_clips_on_gpu(size, exact_float32):  # noqa: ARG001
    encoder = random_encoder(size, seed=0).encoder
    scramble(encoder, seed=1)
    mel_BMF, counts_B = batch([WINDOW_MELS, 1, 2, 499, 500, 1601], encoder.config.mel_bins)
    per_frame, per_vector = largest_differences(encoder.cuda(), mel_BMF.cuda(), counts_B.cuda())
    assert per_frame <= 1e-5
    assert per_vector <= 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("size", FULL_DEPTH)
@torch.no_grad()
def test_samples_to_vectors_alone_and_beside_longer_clips_on_gpu(size, exact_float32):  # noqa: ARG001
    from uniwhisper.features.logmel import log_mel

    encoder = random_encoder(size, seed=0).encoder.cuda()
    samples = [480_000, 1, 399, 80_000, 160_001]
    generator = torch.Generator().manual_seed(0)
    waves = [0.1 * torch.randn(count, generator=generator) for count in samples]

    def vectors(*clips: Tensor) -> Tensor:
        wave_BS = torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True).cuda()
        counts_B = torch.tensor([len(clip) for clip in clips], device="cuda")
        return masked_mean(*encoder(*log_mel(wave_BS, counts_B, mel_bins=encoder.config.mel_bins)))

    alone_BD = torch.cat([vectors(wave) for wave in waves])
    assert relative(vectors(*waves), alone_BD) <= 1e-5


@pytest.mark.gpu
def test_bfloat16_autocast_trains_on_gpu():
    encoder = random_encoder("tiny", seed=0).encoder.cuda().train()
    mel_BMF, counts_B = batch([WINDOW_MELS, 7, 801], 80)
    with torch.autocast("cuda", torch.bfloat16):
        frames_BTD, frame_counts_B = encoder(mel_BMF.cuda(), counts_B.cuda())
        masked_mean(frames_BTD, frame_counts_B).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in encoder.parameters())


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_a_random_encoder_hears_more_than_it_counts(size):
    """Most of what frames of different tones vary by is the tone, not the position."""
    encoder = random_encoder(size, seed=0).encoder
    time_S = torch.arange(32_000) / 16_000
    tones_BS = torch.sin(2 * torch.pi * torch.linspace(100, 4000, 12)[:, None] * time_S)
    tones_BS += 0.01 * torch.randn(tones_BS.shape, generator=torch.Generator().manual_seed(0))
    mel_BMF, mel_counts_B = log_mel(tones_BS, torch.full((12,), 32_000), mel_bins=encoder.config.mel_bins)
    with torch.inference_mode():
        frames_BTD, _ = encoder(mel_BMF, mel_counts_B)
    by_position = frames_BTD.mean(dim=0).var(dim=0).sum() / frames_BTD.flatten(0, 1).var(dim=0).sum()
    assert by_position < 0.6


@pytest.mark.gpu
@pytest.mark.parametrize("frames", [63, 64, 192, 448])
def test_masked_attention_in_bfloat16_has_finite_gradients(frames):
    """Lengths at which cuDNN's masked backward gives NaN when attention scores are far below zero."""
    generator = torch.Generator("cuda").manual_seed(0)
    counts = [frames, max(1, frames // 2)]
    packing = Packing.of(counts, torch.device("cuda"))
    query, key, value = (torch.randn(sum(counts), 6, 64, device="cuda", generator=generator) for _ in range(3))
    query, key = 20 * query.abs(), -20 * key.abs()
    inputs = [x.bfloat16().requires_grad_() for x in (query, key, value)]
    attend_padded(*inputs, packing).float().square().sum().backward()
    assert all(x.grad.isfinite().all() for x in inputs)


@pytest.mark.gpu
@pytest.mark.parametrize("causal", [False, True])
def test_the_packed_kernel_agrees_with_the_padded_one(causal):
    counts = [300, 1, 17, 1500, 64]
    packing = Packing.of(counts, torch.device("cuda"))
    inputs = [torch.randn(packing.total, 6, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    exact = attend_padded(*(x.float() for x in inputs), packing, causal=causal)
    got = attend_packed(*inputs, packing, causal=causal)
    assert (got.float() - exact).norm() <= 1e-2 * exact.norm()
