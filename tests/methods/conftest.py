from tests.clients.conftest import batch_norm_model

__all__ = ["batch_norm_model"]
