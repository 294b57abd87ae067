"""The only place where a sample rate, a hop or a window length is written down.

One word per thing: a *sample* is one value of the waveform, a *mel* one column of the log-mel spectrogram, a *frame*
one output vector of the encoder, an *audio token* one input vector of the language model made by the adapter, a
*text token* one entry of its vocabulary, a *clip* one recording. Source of the five literals: Whisper (Radford et al.,
2022, section 2.2).
"""

SAMPLE_RATE_HZ = 16_000
WINDOW_SECONDS = 30
MEL_HOP_SAMPLES = 160
FFT_SAMPLES = 400
FRAME_MELS = 2  # stride of the encoder's second convolution


def exact_div(dividend: int, divisor: int) -> int:
    """`dividend / divisor`, refusing a remainder."""
    assert dividend % divisor == 0, f"{dividend} is not a multiple of {divisor}"
    return dividend // divisor


FRAME_SAMPLES = MEL_HOP_SAMPLES * FRAME_MELS
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE_HZ
WINDOW_MELS = exact_div(WINDOW_SAMPLES, MEL_HOP_SAMPLES)
WINDOW_FRAMES = exact_div(WINDOW_MELS, FRAME_MELS)
FRAMES_PER_SECOND = exact_div(SAMPLE_RATE_HZ, FRAME_SAMPLES)
HOP_SECONDS = 1 / FRAMES_PER_SECOND


def ceil_div(dividend, divisor: int):
    """Smallest integer >= dividend / divisor, for an int or elementwise for an integer array or tensor."""
    return -(-dividend // divisor)


def mel_count(samples):
    """Mels of a clip of `samples` samples: every column whose centre lies inside the clip."""
    return ceil_div(samples, MEL_HOP_SAMPLES)


def frame_count(mels):
    """Frames the encoder makes of `mels` mels (second convolution: kernel 3, stride 2, padding 1)."""
    return ceil_div(mels, FRAME_MELS)
