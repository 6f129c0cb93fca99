"""Numbers and bits as bytes."""

import torch

_POWERS = (1, 2, 4, 8, 16, 32, 64, 128)


def joined(*parts: torch.Tensor) -> torch.Tensor:
    """Return tensors one after the other, as bytes."""
    return torch.cat([part.contiguous().view(-1).view(torch.uint8) for part in parts])


def split(data: torch.Tensor, *parts: tuple[torch.dtype, int]) -> list[torch.Tensor]:
    """Return the tensors of which bytes consist, given dtype and number of values of each.

    Raises
    ------
    ValueError
        If they are more or fewer bytes.
    """
    lengths = [dtype.itemsize * count for dtype, count in parts]
    if len(data) != sum(lengths):
        raise ValueError(f"{len(data)} bytes instead of {sum(lengths)}")
    pieces = torch.split(data, lengths)
    return [piece.clone().view(dtype) for piece, (dtype, _) in zip(pieces, parts, strict=True)]


def packed(bits: torch.Tensor) -> torch.Tensor:
    """Return bits, bool (n,), as bytes, uint8 (ceil(n / 8),), the first bit lowest."""
    padded = torch.nn.functional.pad(bits.to(torch.uint8), (0, -len(bits) % 8)).view(-1, 8)
    powers = torch.tensor(_POWERS, dtype=torch.uint8, device=bits.device)
    return (padded * powers).sum(1, dtype=torch.uint8)


def unpacked(data: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first `count` bits of bytes, bool (count,).

    Raises
    ------
    ValueError
        If they are more or fewer bytes, or the rest of the last one is not 0.
    """
    if len(data) != num_bytes(count):
        raise ValueError(f"{len(data)} bytes instead of {num_bytes(count)}")
    powers = torch.tensor(_POWERS, dtype=torch.uint8, device=data.device)
    bits = (data[:, None] & powers).bool().view(-1)
    if bits[count:].any():
        raise ValueError("bits after the last one")
    return bits[:count]


def num_bytes(num_bits: int) -> int:
    """Return the number of bytes that hold a number of bits."""
    return -(-num_bits // 8)
