"""FedBN: which layers stay with the clients."""

import pytest
from torch import nn

from common.errors import UserError
from models.heads.parts import part_names


class TestFedBN:
    def test_layers_are_found_by_their_type(self) -> None:
        model = nn.Module()
        model.conv = nn.Conv2d(1, 1, 1, bias=False)
        model.downsample = nn.Sequential(nn.Identity(), nn.BatchNorm2d(1))
        assert set(model.state_dict()) - part_names(model, "batch-norm") == {"conv.weight"}

    def test_a_model_without_them_is_refused(self) -> None:
        with pytest.raises(UserError, match="no BatchNorm layers"):
            part_names(nn.Linear(1, 1), "batch-norm")
