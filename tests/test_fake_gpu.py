"""The fake GPU refuses what a real one refuses."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from tests.fake_gpu import FakeGpu, fake_gpu


@pytest.fixture(autouse=True)
def gpu() -> Iterator[FakeGpu]:
    with fake_gpu() as made:
        yield made


def on_gpu() -> torch.Tensor:
    return torch.ones(3, device="cuda")


@pytest.mark.parametrize(
    "call",
    [
        lambda: on_gpu() + torch.ones(3),
        lambda: on_gpu().add_(torch.ones(3)),
        lambda: torch.stack([on_gpu(), torch.ones(3)]),
        lambda: torch.ones(3)[torch.zeros(2, dtype=torch.int64, device="cuda")],
        lambda: on_gpu().index_select(0, torch.tensor([0])),
        lambda: nn.Linear(3, 2)(on_gpu()),
        lambda: nn.Linear(3, 2).to("cuda")(torch.ones(3)),
        lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
        lambda: torch.randn(3, generator=torch.Generator(device="cuda")),
        lambda: on_gpu().uniform_(generator=torch.Generator()),
        lambda: pack_padded_sequence(torch.ones(2, 3, 1, device="cuda"), torch.tensor([3, 2]).to("cuda")),
    ],
)
def test_tensors_of_two_places_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError):
        call()


def test_numpy_is_refused() -> None:
    with pytest.raises(TypeError, match="numpy"):
        on_gpu().numpy()
    assert on_gpu().cpu().numpy().tolist() == [1, 1, 1]
    assert on_gpu().numpy(force=True).tolist() == [1, 1, 1]


def test_results_are_where_the_arguments_are() -> None:
    values = on_gpu()
    for found in (
        values + 1,
        values * torch.tensor(2.0),
        values[:2],
        values.detach(),
        torch.zeros_like(values),
    ):
        assert (found.device, found.is_cuda) == (torch.device("cuda", 0), True)
    for found in (values.cpu(), values.to("cpu"), torch.zeros(3), torch.zeros_like(values, device="cpu")):
        assert (found.device.type, found.is_cuda) == ("cpu", False)


def test_what_may_be_of_two_places_is_not_refused() -> None:
    here, there = torch.arange(3.0), torch.arange(3.0).to("cuda")
    assert (there[torch.tensor([1, 2])].device.type, here[there.argmax()].item()) == ("cuda", 2)
    assert (there + torch.tensor(1.0)).tolist() == [1, 2, 3]


def test_a_copy_elsewhere_is_another_tensor() -> None:
    here = torch.zeros(3)
    there = here.to("cuda")
    there += 1
    assert (here.tolist(), there.tolist()) == ([0, 0, 0], [1, 1, 1])
    assert there.to("cuda") is there
    here.copy_(there)
    assert here.device.type == "cpu"


def test_transfers_are_noted(gpu: FakeGpu) -> None:
    there = torch.ones(3).to("cuda")
    there.to("cuda").add_(1).sum()
    assert gpu.transfers == ["to"]
    if there.sum() > 0:
        float(there[0])
    torch.tensor([1, 2], device="cuda").tolist()
    assert gpu.transfers == ["to", "__bool__", "__float__", "tensor", "tolist"]


def test_a_model_trains_there() -> None:
    model = nn.Linear(3, 1, bias=False).to("cuda")
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    model(on_gpu()).sum().backward()
    optimizer.step()
    assert model.weight.grad is not None
    assert {model.weight.grad.device.type, optimizer.state[model.weight]["momentum_buffer"].device.type} == {
        "cuda"
    }
    torch.testing.assert_close(model.weight.detach(), before - 0.5)
