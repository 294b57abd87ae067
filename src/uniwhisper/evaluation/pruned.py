"""The k nearest by cosine without most of the arithmetic, and still exactly the k nearest.

Vectors of encoders lie near few directions. In an orthonormal basis V of the reference's first A principal axes, with
a = V'q and b = V'r, Cauchy and Schwarz bound what all other axes can add (rotation and bound as in FEXIPRO, Li et al.,
SIGMOD 2017, sections 3 and 4, without its integers):

    <q, r>  <=  <a, b> + sqrt(|q|^2 - |a|^2) sqrt(|r|^2 - |b|^2)

which is one product in A + 1 columns instead of D. Per query:

    seeds       the clips with the largest bounds, scored in full width; their k-th best score is the threshold
    candidates  every clip whose bound is not below the threshold by more than rounding; scored in full width
    answer      the k best candidates, equals by the rule of `largest.nearest`

No other clip can be among the k nearest. A query with more candidates than are kept is asked again with more kept, then
answered by the full product.
Which A is cheapest, or whether none is worth it (vectors without structure), is tried on reference clips: nothing is
fitted on queries. Reasons and figures: docs/decisions/0036-exact-pruned-neighbours.md.

Rounding, u = 2^-24, vectors of norm <= 1 + (D + 2) u: a float32 sum of n products, in whatever order, is off by n u
times the sum of their absolute values at most, to first order (Higham 2002, section 3.1); a factor of 1.1 covers the
higher orders. Products must be float32 products, torch's default on a CPU.

    V              V'V = I + E, |E| <= d, measured in float64: <a, b> is off by d, |a|^2 counts for |a|^2 / (1 + d)
    a, b           summed in chunks: each is off by e = (chunk + D / chunk + 3) u sqrt(A)
    |a|            (A + 2) u more
    <a, b>         2 e from its arguments, (A + 3) u from its own sum
    scores         (D + 2) u each: of the threshold, of the candidate, and of the full product where it differs from us
"""

from dataclasses import dataclass

import torch

from uniwhisper.evaluation.largest import largest, nearest

_UNIT = 2.0**-24
_WORTH = 2e10  # multiply-adds of the full product; below it one product is quick enough
_SAMPLE = 2560
_ITERATIONS = 2
_CHUNK = 128
_SEEDS = 24
_KEPT = (128, 1024)
_BLOCK_QUERIES = 512
_BLOCK_OF_FULL = 1024
_BLOCK_PAIRS = 2048
_BUCKET_CLIPS = 32
_PARTS = (20, 14, 10, 7, 5)  # A is D over one of these
_TRIED = 64
_PASS = 64  # columns that the passes over the bounds take as long as
_GATHER = 64  # scoring one gathered clip takes as long as so many clips of a product: memory against arithmetic


@dataclass(frozen=True)
class _Axes:
    """Orthonormal directions, the most important first, as float32 can hold them."""

    basis_DA: torch.Tensor
    defect: float
    """d of the formulas above."""

    @classmethod
    def of(cls, reference_ND: torch.Tensor, axes: int) -> "_Axes | None":
        """Principal axes of a strided sample, about the origin, nearly; None where values are not finite."""
        count = len(reference_ND)
        sample_SD = reference_ND[torch.linspace(0, count - 1, min(_SAMPLE, count)).long()].float()
        moment_DD = sample_SD.T @ sample_SD
        if not moment_DD.isfinite().all():
            return None
        basis_DA = _leading(moment_DD, axes)
        gram_AA = basis_DA.double().T @ basis_DA.double()
        return cls(basis_DA, float(torch.linalg.norm(gram_AA - torch.eye(axes, dtype=torch.float64))))

    def part(self, first: int, end: int) -> "_Axes":
        return _Axes(self.basis_DA[:, first:end], self.defect)

    def coordinates(self, vectors_ND: torch.Tensor) -> torch.Tensor:
        """float32 (N, A)."""
        coordinates_NA = torch.zeros(len(vectors_ND), self.basis_DA.shape[1])
        for part_NC, basis_CA in zip(vectors_ND.split(_CHUNK, dim=1), self.basis_DA.split(_CHUNK), strict=True):
            coordinates_NA += part_NC.float() @ basis_CA
        return coordinates_NA

    def bounds(self, coordinates_NA: torch.Tensor, norms_N: torch.Tensor) -> torch.Tensor:
        """The coordinates and, as one more column, no less than the norm of what they leave out, float32 (N, A + 1)."""
        width, axes = self.basis_DA.shape
        norms_N = norms_N.double() * (1 + 1.1 * (width + 2) * _UNIT)
        inside_N = torch.linalg.vector_norm(coordinates_NA, dim=1).double()
        inside_N = (inside_N - self._coordinate_error() - 1.1 * (axes + 2) * _UNIT).clamp_min(0)
        rest_N = (norms_N**2 - inside_N**2 / (1 + self.defect)).clamp_min(0).sqrt()
        return torch.cat([coordinates_NA, (rest_N * (1 + 2 * _UNIT)).float()[:, None]], dim=1)

    def margin(self) -> float:
        """How far below the threshold a bound may lie with a clip still among the nearest, by rounding alone."""
        width, axes = self.basis_DA.shape
        sums = (axes + 3) * _UNIT + 3 * (width + 2) * _UNIT
        return 1.1 * (2 * self._coordinate_error() + sums + self.defect)

    def _coordinate_error(self) -> float:
        """e of the formulas above."""
        width, axes = self.basis_DA.shape
        return 1.1 * (_CHUNK + width / _CHUNK + 3) * _UNIT * axes**0.5


def _leading(moment_DD: torch.Tensor, axes: int) -> torch.Tensor:
    """Nearly the leading eigenvectors (D, A), orthonormal, the largest first: subspace iteration, Rayleigh and Ritz.

    Better ones would save little: the bounds hold for any orthonormal basis. All eigenvectors take longer.
    """
    start_DA = torch.randn(len(moment_DD), axes, generator=torch.Generator().manual_seed(0))
    basis_DA = torch.linalg.qr(moment_DD @ start_DA).Q
    for _ in range(_ITERATIONS):
        basis_DA = torch.linalg.qr(moment_DD @ basis_DA).Q
    turn_AA = torch.linalg.eigh(basis_DA.T @ (moment_DD @ basis_DA)).eigenvectors.flip(1)
    return torch.linalg.qr(basis_DA @ turn_AA).Q


@dataclass(frozen=True)
class Pruned:
    """Reference vectors on the CPU, ready to be searched by bounds."""

    reference_ND: torch.Tensor
    axes: _Axes
    bounds_NA: torch.Tensor
    """Per clip its coordinates and, as one more column, the norm of the rest."""

    def nearest(self, queries_QD: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (Q, K) in the reference's dtype and indices int64 (Q, K) of the k nearest, the nearest first.

        Args:
            queries_QD: the reference's width and dtype, rows of norm 1 or less.
            k: neighbours, at most N.
        """
        scores_QK = torch.empty(len(queries_QD), k, dtype=self.reference_ND.dtype)
        clips_QK = torch.empty(len(queries_QD), k, dtype=torch.int64)
        open_P = torch.arange(len(queries_QD))
        bounds_QA = self.axes.bounds(self.axes.coordinates(queries_QD), torch.linalg.vector_norm(queries_QD, dim=1))
        # One buffer for all blocks: mapping fresh pages costs as much as half of the product.
        buffer_QN = torch.empty(min(_BLOCK_QUERIES, len(queries_QD)), len(self.reference_ND))
        for kept in _KEPT:
            still_open = []
            for block_P in open_P.split(_BLOCK_QUERIES):
                scores_QM, clips_QM, proven_Q = self._candidates(
                    queries_QD[block_P], bounds_QA[block_P], k, kept, buffer_QN
                )
                clips_QM, order_QM = clips_QM.sort(dim=1)  # equals then stand in the order of clips
                scores_QM = scores_QM.gather(1, order_QM)
                places_QK = nearest(scores_QM, k)
                scores_QK[block_P] = scores_QM.gather(1, places_QK)
                clips_QK[block_P] = clips_QM.gather(1, places_QK)
                still_open.append(block_P[~proven_Q])
            open_P = torch.cat(still_open)
            if not len(open_P):
                return scores_QK, clips_QK
        scores_QK[open_P], clips_QK[open_P] = full(self.reference_ND, queries_QD[open_P], k)
        return scores_QK, clips_QK

    def _candidates(
        self, queries_QD: torch.Tensor, bounds_QA: torch.Tensor, k: int, kept: int, buffer_QN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores (-inf where the bound rules a clip out), clips, and for which queries no other clip can be nearer."""
        bounds_QN = torch.mm(bounds_QA, self.bounds_NA.T, out=buffer_QN[: len(queries_QD)])
        kept = min(max(kept, k), bounds_QN.shape[1])
        bounds_QM, clips_QM = largest(bounds_QN, kept, _BUCKET_CLIPS)

        seeds = min(max(_SEEDS, k), kept)
        scores_QM = torch.full(bounds_QM.shape, -torch.inf, dtype=self.reference_ND.dtype)
        query_P = torch.arange(len(queries_QD)).repeat_interleave(seeds)
        scores_QM[:, :seeds] = self._scores(queries_QD, query_P, clips_QM[:, :seeds].flatten()).unflatten(
            0, (-1, seeds)
        )
        least_Q = scores_QM[:, :seeds].topk(k, dim=1).values[:, -1] - self.axes.margin()

        possible_QM = bounds_QM >= least_Q[:, None]
        proven_Q = ~possible_QM[:, -1] if kept < bounds_QN.shape[1] else torch.ones(len(queries_QD), dtype=torch.bool)
        possible_QM[:, :seeds] = False
        possible_QM &= proven_Q[:, None]  # the others are asked again
        query_P, place_P = possible_QM.nonzero(as_tuple=True)
        scores_QM[query_P, place_P] = self._scores(queries_QD, query_P, clips_QM[query_P, place_P])
        return scores_QM, clips_QM, proven_Q

    def _scores(self, queries_QD: torch.Tensor, query_P: torch.Tensor, clip_P: torch.Tensor) -> torch.Tensor:
        # A sum along the row, not a product of matrices: equal clips must score equal wherever they stand.
        pairs = zip(query_P.split(_BLOCK_PAIRS), clip_P.split(_BLOCK_PAIRS), strict=True)
        return torch.cat([(self.reference_ND[clips] * queries_QD[queries]).sum(dim=1) for queries, clips in pairs])

    def cost(self, tried_P: torch.Tensor, k: int) -> float:
        """Multiply-adds per query over those of the full product.

        Args:
            tried_P: int64, the reference clips that are asked instead of queries.
            k: neighbours.
        """
        count, width = self.reference_ND.shape
        tried_TD = self.reference_ND[tried_P]
        # One neighbour more, because a clip finds itself.
        scores_TM, _, proven_T = self._candidates(
            tried_TD, self.bounds_NA[tried_P], k + 1, _KEPT[0], torch.empty(len(tried_TD), count)
        )
        gathered = float(scores_TM.isfinite().sum()) / len(tried_P)
        bounds = (self.bounds_NA.shape[1] + _PASS) / width
        return bounds + _GATHER * gathered / count + float((~proven_T).sum()) / len(tried_P)


def prepare(reference_ND: torch.Tensor, queries: int, k: int) -> Pruned | None:
    """The reference ready to be searched for so many queries; None where the full product is no slower.

    Args:
        reference_ND: float32 or float64 on the CPU, rows of norm 1 or less.
        queries: how many will be asked.
        k: neighbours, at most N.
    """
    count, width = reference_ND.shape
    most = width // min(_PARTS)
    product = count * queries * width
    setup = (min(count, _SAMPLE) + 10 * most) * width**2 + (count + queries) * width * most
    if product < _WORTH or setup > product / 4 or width < max(_PARTS) or count <= max(_KEPT[0], k):
        return None
    widest = _Axes.of(reference_ND, most)
    if widest is None:
        return None
    tried_P = torch.linspace(0, count - 1, min(_TRIED, count)).long()
    norms_N = torch.linalg.vector_norm(reference_ND, dim=1)
    coordinates_NA = torch.empty(count, 0)
    best, least = None, 0.5
    for part in _PARTS:
        if (width // part + _PASS) / width >= least:
            break
        more_axes = widest.part(coordinates_NA.shape[1], width // part)
        coordinates_NA = torch.cat([coordinates_NA, more_axes.coordinates(reference_ND)], dim=1)
        axes = widest.part(0, width // part)
        choice = Pruned(reference_ND, axes, axes.bounds(coordinates_NA, norms_N))
        if (cost := choice.cost(tried_P, k)) < least:
            best, least = choice, cost
    return best


def full(reference_ND: torch.Tensor, queries_QD: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Pruned.nearest`, from the product with every clip; on any device.

    Args:
        reference_ND, queries_QD: float32 or float64, rows of norm 1 or less.
        k: neighbours, at most N.
    """
    scores, clips = [], []
    for block_QD in queries_QD.split(_BLOCK_OF_FULL):
        similarity_QN = block_QD @ reference_ND.T
        nearest_QK = nearest(similarity_QN, k)
        scores.append(similarity_QN.gather(1, nearest_QK))
        clips.append(nearest_QK)
    return torch.cat(scores), torch.cat(clips)
