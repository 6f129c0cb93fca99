"""Flower's q-FedAvg with weighted replies, which Flower's own lacks."""

from collections.abc import Iterable
from typing import cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import QFedAvg as FlowerQFedAvg
from flwr.serverapp.strategy.qfedavg import compute_delta_and_h, get_local_weights, get_train_loss


class QFedAvg(FlowerQFedAvg):
    """x <- x - sum_k w_k Delta_k / sum_k w_k h_k (Li et al. 2020, Algorithm 2, where all w_k are 1).

    Delta_k = L (x - y_k) F_k^q and h_k = q F_k^(q - 1) ||L (x - y_k)||^2 + L F_k^q, with the loss F_k that
    the client measured and L = 1 / ``client_learning_rate``. A weight w_k, such as that of a participation
    scheme that corrects its bias, has the effect of w_k clients with the same reply.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Sum up Delta and h over the replies."""
        valid, _ = self._check_and_log_replies(replies, is_train=True)
        if not valid or self.current_arrays is None:
            return None, None
        start = self.current_arrays.to_numpy_ndarrays()
        deltas = [np.zeros_like(value) for value in start]
        total = 0.0
        for reply in valid:
            (metrics,) = reply.content.metric_records.values()
            weight = float(cast(float, metrics[self.weighted_by_key]))
            loss = get_train_loss(reply, self.train_loss_key)
            delta, h = compute_delta_and_h(
                start, get_local_weights(reply), self.q, 1.0 / self.client_learning_rate, loss
            )
            for value, change in zip(deltas, delta, strict=True):
                value += weight * change
            total += weight * h
        moved = [Array(np.asarray(old - d / total)) for old, d in zip(start, deltas, strict=True)]
        contents = [reply.content for reply in valid]
        return (
            ArrayRecord(dict(zip(self.current_arrays, moved, strict=True))),
            self.train_metrics_aggr_fn(contents, self.weighted_by_key),
        )
