from tests.clients.conftest import batch_norm_model
from tests.methods.fedloge import few_head_steps

__all__ = ["batch_norm_model", "few_head_steps"]
