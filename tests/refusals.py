"""Errors that users see, for tests that look at their text."""

from typing import Any

import pytest

from common.errors import UserError


def error_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as raised:
        function(*arguments)
    message = str(raised.value)
    assert "\n" not in message
    return message
