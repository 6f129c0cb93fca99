"""FedETF's server half (Li et al., ICCV 2023): a fixed equiangular tight frame instead of the head.

arXiv:2303.10058.
"""

from common.randomness import torch_generator
from common.records import Tensors
from models.heads.realignment import WEIGHT, head_of_model, model_entries, without_bias
from models.heads.sse_c import dense_etf
from strategies._fixed_head import FixedHead


class FedETF(FixedHead):
    """Averages everything before the head, which is a dense frame of unit vectors without bias."""

    def initial_model(self, model: Tensors, seed: int) -> Tensors:
        """Put the frame into the model."""
        head = without_bias(head_of_model(model))
        num_classes, num_features = head[WEIGHT].shape
        frame = dense_etf(num_classes, num_features, torch_generator(seed, "sse-c"))
        return {**model, **model_entries({**head, WEIGHT: frame.to(head[WEIGHT].dtype)})}
