"""FedRolex's client half (Alam et al., NeurIPS 2022, arXiv:2212.01548): that of HeteroFL."""

from torch import nn

from clients.heterofl import HeteroFL
from common.errors import UserError


class FedRolex(HeteroFL):
    """HeteroFL's local training, on the channels of the round."""

    def validate(self) -> None:
        """Refuse what HeteroFL refuses, and layers that depend on which channels are neighbours."""
        super().validate()
        if any(isinstance(module, nn.GroupNorm) for module in self.worker.model.modules()):
            raise UserError(
                "'fedrolex' shifts channels, which group normalisation does not allow:"
                " use model.norm = 'batch'"
            )
