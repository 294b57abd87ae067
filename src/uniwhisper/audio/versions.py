"""Versions of what makes a wave out of a file, for keys of what is kept about waves."""

import soundfile
import soxr

from uniwhisper.core.provenance import package_versions


def wave_versions() -> dict[str, str | None]:
    """Of each package that decodes or resamples, and of each library in it that may be the system's own."""
    return {
        **package_versions(("soundfile", "soxr", "av")),
        "libsndfile": soundfile.__libsndfile_version__,
        "libsoxr": soxr.__libsoxr_version__,
    }
