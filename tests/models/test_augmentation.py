"""Pictures varied in training."""

from __future__ import annotations

import torch

from mmgen.models.shared.augmentation import varied


def dot() -> torch.Tensor:
    """White with a black square in the middle."""
    x = torch.ones(4, 3, 16, 16)
    x[:, :, 6:10, 6:10] = -1
    return x


def test_nothing_asked_nothing_done() -> None:
    assert torch.equal(varied(dot(), 0, 0, 0, torch.Generator()), dot())


def test_pictures_move_each_its_own_way_and_what_comes_in_is_white() -> None:
    moved = varied(dot(), 0.25, 0, 0, torch.Generator().manual_seed(1))
    centres = [(picture[0] < 0).nonzero().float().mean(0) for picture in moved]
    assert len({tuple(centre.tolist()) for centre in centres}) == 4
    assert all((centre - 7.5).abs().max() <= 4.5 for centre in centres)
    assert (moved[:, :, 0, 0] == 1).all()
    assert torch.isclose((1 - moved).sum((1, 2, 3)), (1 - dot()).sum((1, 2, 3)), rtol=0.02).all()


def test_zoom_changes_the_size_only() -> None:
    zoomed = varied(dot(), 0, 0.5, 0, torch.Generator().manual_seed(2))
    inks = (1 - zoomed).sum((1, 2, 3)) / (1 - dot()).sum((1, 2, 3))
    assert inks.max() - inks.min() > 0.2
    assert inks.min() > 1 / 1.5**2 - 0.1
    assert torch.allclose(zoomed, zoomed.flip(3), atol=1e-5)


def test_tint_scales_channels_and_leaves_white() -> None:
    tinted = varied(dot() * 0.5 + 0.5, 0, 0, 0.4, torch.Generator().manual_seed(3))
    assert (tinted[:, :, 0, 0] == 1).all()
    middle = tinted[:, :, 8, 8]
    assert (middle.std(1) > 0.01).all()
    assert ((1 - middle) <= 1.4).all()
    assert ((1 - middle) >= 0.6).all()


def test_the_same_generator_gives_the_same_pictures() -> None:
    one, other = (varied(dot(), 0.2, 0.2, 0.2, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, other)
