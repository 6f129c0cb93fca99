"""Models, built by name (``building.py``) or loaded from a run (``run_model.py``)."""

from models.building import LIBRARIES, available_models, build_model, model_parameters
from models.run_model import RunModel, load_run

__all__ = ["LIBRARIES", "RunModel", "available_models", "build_model", "load_run", "model_parameters"]
