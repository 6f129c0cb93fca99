"""HeteroNova's server half (Chan et al., ICLR 2024, section 5.1): FedNova per entry, over its holders.

arXiv:2308.11464.
"""

from common.records import ARRAYS, Payload, Tensors
from strategies.heteroavg import HeteroAvg


class HeteroNova(HeteroAvg):
    """x[l] <- x[l] + (sum_i p_i a_i) (sum_i p_i (y_i[l] - x[l]) / a_i), i over the holders of l.

    As in NIID-Bench, but with weights per entry that sum to 1 over its holders. Buffers are averaged. With
    equal work, or a single holder, it is HeteroAvg.
    """

    SECTIONS = frozenset({ARRAYS, "effort"})

    def transform_reply(self, sections: Payload) -> Payload:
        """Return the model, and for every parameter in it the change per unit of work and the work."""
        effort, arrays, start = sections["effort"]["norm"], sections[ARRAYS], self.part(self.global_model)
        names = [name for name in self.parameter_names if name in arrays]
        return {
            ARRAYS: arrays,
            "change": {name: (arrays[name].double() - start[name]) / effort for name in names},
            "effort": {name: effort.expand(arrays[name].shape) for name in names},
        }

    def values(self, averages: Payload) -> Tensors:
        """Step by the average direction, scaled by the average work of the holders."""
        effort = averages["effort"]
        steps = {name: effort[name] * change for name, change in averages["change"].items()}
        return averages[ARRAYS] | {name: self.global_model[name] + step for name, step in steps.items()}
