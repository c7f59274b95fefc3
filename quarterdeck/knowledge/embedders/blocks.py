"""Weights of 4 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Blocks", "Floats"]

BLOCK = 32  # weights that share a scale
_MIDDLE = 8  # stands for zero

Floats: TypeAlias = "npt.NDArray[np.float32]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """A matrix in blocks of 32 numbers of 4 bits along its rows.

    Attributes:
        codes: [rows, blocks, 16] bytes; byte j holds number j of its block in the lower half, number j + 16 in the upper.
        scales: [rows, blocks] of 16 bits. A weight is its number less 8, times the scale of its block.
    """

    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        rows, blocks = self.scales.shape
        return rows, blocks * BLOCK

    def numbers(self) -> npt.NDArray[np.uint8]:
        """[rows, blocks, 32], each 0 to 15."""
        return np.concatenate([self.codes & 0x0F, self.codes >> 4], axis=-1)

    def dense(self) -> Floats:
        """The matrix."""
        weights = (self.numbers().astype(np.float32) - _MIDDLE) * self.scales[..., None].astype(np.float32)
        return weights.reshape(self.shape)

    def paired(self) -> npt.NDArray[np.uint8]:
        """[rows, blocks, 16] bytes as onnxruntime wants them: of two neighbours the first in the lower half."""
        numbers = self.numbers()
        return np.asarray(numbers[..., 0::2] | numbers[..., 1::2] << 4)
