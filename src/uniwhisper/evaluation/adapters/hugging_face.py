"""Encoders of transformers: Whisper as it is usually run, wav2vec 2.0 and its kin, AST, CLAP.

Weights load in float32 by transformers' own classes; code that comes with a checkpoint is never run. A tensor that the
checkpoint lacks is refused: transformers would draw it at random and go on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniwhisper.core.errors import MissingExtraError, WeightsError
from uniwhisper.core.identity import code_identity, hash_json, hash_tensors, layer_identity
from uniwhisper.core.units import frame_count, mel_count
from uniwhisper.evaluation.adapters.pooling import ClipPooler, pooler

MEAN = "mean of all frames"
# Drawn for masking in pretraining, or for reading positions that no input of ours reaches.
_NEVER_USED = ("masked_spec_embed",)


class _Function:
    """A model with its feature extractor."""

    window_seconds = 30.0
    shortest_seconds = 0.0
    hop_seconds: float | None = None
    pooling = MEAN

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self.module = model.to(device).eval()
        self.extractor, self.device = extractor, device
        self.sample_rate_hz = int(extractor.sampling_rate)
        self.width = int(model.config.hidden_size)

    def features(self, wave_BS: Tensor, name: str, **options: Any) -> Tensor:
        """What the extractor makes of waves (B, S), on the model's device."""
        waves = list(wave_BS.numpy())
        got = self.extractor(waves, sampling_rate=self.sample_rate_hz, return_tensors="pt", **options)
        return got[name].to(self.device, torch.float32)


class _FramesFunction(_Function):
    """A model whose layers all give one vector per time step."""

    def __call__(self, wave_BS: Tensor) -> Tensor:
        return self._kept(self._run(wave_BS).last_hidden_state, wave_BS)

    def _run(self, wave_BS: Tensor, **options: bool) -> Any:
        raise NotImplementedError

    def _kept(self, frames_BTD: Tensor, wave_BS: Tensor) -> Tensor:  # noqa: ARG002
        """Frames over the audio, of what a layer gives."""
        return frames_BTD

    def every_layer(self, wave_BS: Tensor) -> dict[str, Tensor]:
        """Frames (B, T, D) as a call gives them, of each layer: `0` enters the first block, `k` leaves the k-th.

        `final` is the output; where that is what the last block leaves, it has no number.
        """
        output = self._run(wave_BS, output_hidden_states=True)
        hidden, final_BTD = list(output.hidden_states), output.last_hidden_state
        if torch.equal(hidden[-1], final_BTD):
            hidden.pop()
        layers = {str(number): hidden_BTD for number, hidden_BTD in enumerate(hidden)} | {"final": final_BTD}
        return {name: self._kept(layer_BTD, wave_BS) for name, layer_BTD in layers.items()}


class WhisperTrimmed(_FramesFunction):
    """Each window padded to 30 s, as the model was trained; only the frames over the audio are kept."""

    hop_seconds = 0.02
    pooling = "mean of the frames over the audio; input padded to 30 s"

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        super().__init__(model.encoder, extractor, device)

    def _run(self, wave_BS: Tensor, **options: bool) -> Any:
        return self.module(self.features(wave_BS, "input_features"), **options)

    def _kept(self, frames_BTD: Tensor, wave_BS: Tensor) -> Tensor:
        return frames_BTD[:, : self._real(wave_BS)]

    def _real(self, wave_BS: Tensor) -> int | None:
        return frame_count(mel_count(wave_BS.shape[1]))


class WhisperPadded(WhisperTrimmed):
    """As X-ARES 0.1.3 runs it: windows of 10 s, each padded to 30 s, and all 1,500 frames of each are kept."""

    window_seconds = 10.0
    pooling = "mean of all 1,500 frames of each 10 s; input padded to 30 s"

    def _real(self, wave_BS: Tensor) -> int | None:  # noqa: ARG002
        return None


class SpeechFrames(_FramesFunction):
    """wav2vec 2.0, HuBERT, WavLM, data2vec: waves in, the last layer's frames out."""

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        super().__init__(model, extractor, device)
        stride = field = 1
        for kernel, step in zip(reversed(model.config.conv_kernel), reversed(model.config.conv_stride), strict=True):
            stride, field = stride * step, (field - 1) * step + kernel
        self.hop_seconds, self.shortest_seconds = stride / self.sample_rate_hz, field / self.sample_rate_hz

    def _run(self, wave_BS: Tensor, **options: bool) -> Any:
        return self.module(self.features(wave_BS, "input_values"), **options)


class SpectrogramPatches(_FramesFunction):
    """AST: patches over the audio, averaged over frequency; each window is padded as the model was trained."""

    pooling = "mean of the patches over the audio"
    shortest_seconds = 0.025

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        super().__init__(model, extractor, device)
        config = model.config
        self.rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        self.hop_seconds = config.time_stride * 0.01
        # Kaldi's 25 ms frames every 10 ms: the longest wave of which the extractor cuts nothing off.
        self.window_seconds = config.max_length * 0.01

    def _run(self, wave_BS: Tensor, **options: bool) -> Any:
        return self.module(self.features(wave_BS, "input_values"), **options)

    def _kept(self, frames_BTD: Tensor, wave_BS: Tensor) -> Tensor:
        patches_BRTD = frames_BTD[:, 2:].unflatten(1, (self.rows, -1))  # the patches of one time step are a column
        mels = (wave_BS.shape[1] - 400) // 160 + 1
        stride = self.module.config.time_stride
        return patches_BRTD.mean(dim=1)[:, : -(-mels // stride)]


class ClapVectors(_Function):
    """CLAP's audio tower with its projection: one vector per window of 10 s, shorter ones repeated as in training."""

    pooling = "projected vector of each 10 s, weighted by the audio in it"

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        super().__init__(model, extractor, device)
        self.width = int(model.config.projection_dim)
        self.window_seconds = extractor.nb_max_samples / self.sample_rate_hz

    def __call__(self, wave_BS: Tensor) -> Tensor:
        # Never longer than a window: the extractor would mark one at random as longer, and merge random crops.
        is_longer_B1 = torch.zeros(len(wave_BS), 1, dtype=torch.bool, device=self.device)
        mels = self.features(wave_BS, "input_features")
        return self.module(input_features=mels, is_longer=is_longer_B1).audio_embeds[:, None]


@dataclass(frozen=True)
class _Family:
    model: str
    extractor: str
    function: type[_Function]


FAMILIES = {
    "whisper": _Family("WhisperModel", "WhisperFeatureExtractor", WhisperTrimmed),
    "wav2vec2": _Family("Wav2Vec2Model", "Wav2Vec2FeatureExtractor", SpeechFrames),
    "hubert": _Family("HubertModel", "Wav2Vec2FeatureExtractor", SpeechFrames),
    "wavlm": _Family("WavLMModel", "Wav2Vec2FeatureExtractor", SpeechFrames),
    "data2vec-audio": _Family("Data2VecAudioModel", "Wav2Vec2FeatureExtractor", SpeechFrames),
    "audio-spectrogram-transformer": _Family("ASTModel", "ASTFeatureExtractor", SpectrogramPatches),
    "clap": _Family("ClapAudioModelWithProjection", "ClapFeatureExtractor", ClapVectors),
}
"""By `model_type` in config.json."""


def open_hugging_face(folder: Path, device: torch.device, *, padded: bool = False) -> ClipPooler:
    """The encoder in a folder of transformers, with `config.json`, `preprocessor_config.json` and weights.

    Args:
        padded: Whisper as X-ARES runs it (`WhisperPadded`).

    Raises:
        WeightsError: another kind of model, a file is missing, or the checkpoint lacks a tensor.
        MissingExtraError: transformers is not installed.
    """
    folder = Path(folder)
    config, preprocessor = (_read(folder, name) for name in ("config.json", "preprocessor_config.json"))
    family = FAMILIES.get(config.get("model_type", ""))
    if family is None or (padded and config["model_type"] != "whisper"):
        raise WeightsError(
            f"{folder} is no encoder with an adapter",
            expected=f"model_type {'whisper' if padded else ' or '.join(FAMILIES)} in its config.json",
            got=repr(config.get("model_type")),
            fix="write an adapter of ten lines and name its file: --model my_encoder.py (see docs/encoders.md)",
        )
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingExtraError.of("transformers", "train", f"an encoder of the kind {config['model_type']}") from None
    model, info = _load(getattr(transformers, family.model), folder)
    missing = sorted(name for name in info["missing_keys"] if not name.endswith(_NEVER_USED))
    _refuse_missing(folder, [*missing, *map(str, info.get("mismatched_keys", ()))])
    kind = WhisperPadded if padded else family.function
    function = kind(
        model, getattr(transformers, family.extractor).from_pretrained(folder, local_files_only=True), device
    )
    weights = {"config": config, "preprocessor": preprocessor, "tensors": hash_tensors(function.module.state_dict())}
    code = f"{code_identity()}+{layer_identity('evaluation/adapters')}+transformers-{transformers.__version__}"
    return pooler(function, weights=hash_json(weights), code=code, pooling=function.pooling)


def _load(kind: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it lists the weights of the heads and decoders that are not wanted here
    try:
        return kind.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{folder} cannot be loaded",
            expected=f"a checkpoint of transformers' {kind.__name__}",
            got=(str(error).strip().splitlines() or [type(error).__name__])[0][:300],
            fix="name a folder written by save_pretrained",
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _refuse_missing(folder: Path, missing: Sequence[str]) -> None:
    if missing:
        raise WeightsError(
            f"{folder} does not hold the whole encoder",
            expected="every tensor of the encoder; what is missing would be drawn at random",
            got=f"{len(missing)} missing or of another shape, e.g. {missing[0]}",
            fix="name the checkpoint that the encoder was saved to",
        )


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder} is not a complete checkpoint of transformers",
            expected=f"{name}, which says how audio becomes the encoder's input",
            got=str(error),
            fix="save the feature extractor into the same folder with save_pretrained",
        ) from None
    if not isinstance(content, dict):
        raise WeightsError(
            f"{folder / name} is not usable", expected="a JSON object", got="another value", fix="save it again"
        )
    return content
