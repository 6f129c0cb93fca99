"""Parts of models: what is in them, and which are refused."""

import pytest
from torch import nn

from common.errors import UserError
from models import build_model
from models.heads.parts import check_parts, part_names


@pytest.mark.parametrize(
    ("model", "part", "trains_rest", "complaint"),
    [
        ("linear", "body", False, "a part of the model without parameters"),
        ("linear", "head", True, "is the whole model, and nothing is left"),
        ("mlp", "all", True, "is the whole model, and nothing is left"),
        ("mlp", "nothing", False, "has no part 'nothing'"),
    ],
)
def test_parts_that_leave_nothing_to_train_are_refused(
    model: str, part: str, trains_rest: bool, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        check_parts(build_model(model, (1, 8, 8), 10), "method.personal-part", part, trains_rest)


def test_head_and_body_make_the_model() -> None:
    model: nn.Module = build_model("mlp", (1, 8, 8), 10)
    check_parts(model, "method.personal-part", "head", trains_rest=True)
    check_parts(model, "method.personal-part", "all")
    head, body = part_names(model, "head"), part_names(model, "body")
    assert head | body == set(model.state_dict())
    assert not head & body
