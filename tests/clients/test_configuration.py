"""What methods say about the configuration."""

from typing import Any

import pytest

from clients._configuration import complete
from common.config import Config
from common.config_values import merge
from common.errors import InapplicableKeyError


@pytest.mark.parametrize(
    ("method", "given", "needed"),
    [
        ("fedasync", {"hinge-slope": 2.0}, {"staleness": "hinge"}),
        ("fedbuff", {"staleness-exponent": 0.3, "staleness": "constant"}, {"staleness": "polynomial"}),
        ("localsgd", {"outer-tau": 0.1, "outer-optimizer": "momentum"}, {"outer-optimizer": "adam"}),
        ("heteroavg", {"inco-clip": 0.2}, {"inco": True}),
        ("per-fedavg", {"delta": 0.1}, {"variant": "hessian-free"}),
        ("knn-per", {"validation-share": 0.5, "fixed-mix": 0.5}, {"fixed-mix": -1.0}),
        ("episode-mem", {"clip-by": "step"}, {"clip-norm": 1.0}),
        ("fedloge", {"paper-bias": "local"}, {"inference": "paper"}),
        ("fedloge", {"head-steps": 5, "head": "dense-etf"}, {"head": "sse-c"}),
        ("fedetf", {"alternations": 2, "variant": "etf-dr"}, {"variant": "fedetf"}),
    ],
)
def test_a_parameter_without_effect_is_refused(method: str, given: dict[str, Any], needed: Any) -> None:
    def configured(parameters: dict[str, Any]) -> Config:
        keys = {f"method.{key}": value for key, value in parameters.items()}
        return Config.from_flat(merge({"method.name": method, **keys}))

    key = next(iter(given))
    with pytest.raises(InapplicableKeyError, match="would have no effect: it needs") as raised:
        complete(configured(given))
    assert raised.value.key == f"method.{key}"
    complete(configured({**given, **needed}))


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("a2cid2", "clock.latency", 0.5),
        ("a2cid2", "clock.bandwidth", 2.0),
        ("a2cid2", "topology.weights", "lazy-metropolis"),
        ("local-only", "method.weighting", "examples"),
        ("gossip-sgd", "method.weighting", "uniform"),
        ("a2cid2", "method.weighting", "uniform"),
        ("pfedhn", "model.individual-init", True),
        ("pfedhn", "model.weights", "w.safetensors"),
    ],
)
def test_a_key_that_a_method_has_no_use_for_is_refused(method: str, key: str, value: Any) -> None:
    config = Config.from_flat(merge({"method.name": method, key: value}))
    with pytest.raises(InapplicableKeyError, match=f"would have no effect with method.name '{method}'") as e:
        complete(config)
    assert e.value.key == key
