"""What a method overrides: the hooks of local training, with what FedAvg does in each."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import torch

from clients.local.batches import Batch
from clients.local.incoming import Section
from clients.local.job import Job
from clients.local.losses import Loss, loss_of
from common.config import Config
from common.parameters import Needs
from common.records import Payload, Tensors
from common.returned import check_returned
from common.sections import Value

Predictor = Callable[[torch.Tensor], torch.Tensor]


class Hooks(Job):
    """The hooks, in the order in which a run and its rounds call them.

    They are pure tensor code over name → tensor mappings, and use what ``clients.local.job`` knows of the job
    at hand.

    Attributes
    ----------
    batch : Batch
        The mini-batch of the current step, in ``correct_gradients``.
    """

    DEFAULTS: ClassVar[dict[str, Value]] = {}
    """Keys outside ``method`` for which the method has a default of its own, such as ``model.projection``."""

    EXAMPLE: ClassVar[dict[str, Value]] = {}
    """Keys of a small run that shows the method, where the defaults are too large or do not fit."""

    NEEDS: ClassVar[Mapping[str, Needs]] = {}
    """Parameter → what else gives it an effect; where that is missing it is refused."""

    NEEDS_CLASSES: ClassVar[bool] = False
    """Whether the method counts, weighs or compares classes, so that targets cannot be numbers."""

    NEEDS_ONE_LABEL: ClassVar[bool] = False
    """Whether the method is for samples with one label each, not for texts with one per position."""

    NEEDS_ONE_RATE: ClassVar[bool] = False
    """Whether the method computes with the learning rate of the round, which must then not change in it."""

    KEEPS: ClassVar[Collection[str]] = ()
    """The sections of ``state`` that a client takes along to its next round; ``*`` is any number.

    As a mapping, section → ``"model"`` says that its arrays are like those of the model."""

    IS_SENT_ITS_OWN: ClassVar[bool] = False
    """Whether the server half sends each client a model of its own, by which the client predicts."""

    STEPS_STACKS: ClassVar[bool] = False
    """Whether ``after_step`` treats every element by itself, so that it may be called once for the stacked
    tensors of several clients (``runtime.stack``), the parameters of its own optimisers included."""

    batch: Batch

    def validate(self) -> None:
        """Raise a `UserError` if the method cannot work with this configuration; before any training."""

    def assumes_sgd(self) -> bool:
        """Return whether the method's formulas hold for unclipped SGD only, as ``gradient_of_steps`` does."""
        return False

    @classmethod
    def depends_on_rounds(cls, parameters: Mapping[str, Any]) -> bool:
        """Return whether the number of rounds decides what the method does in each of them."""
        return False

    @classmethod
    def leaks(cls, config: Config) -> str:
        """Return by what others' data would reach the client, as ``FedAvg.leaks``; empty if by nothing."""
        return ""

    def personal_names(self) -> Collection[str]:
        """Return the entries of the model that the client keeps for itself: they are never sent.

        A new client starts with those of the initial model.
        """
        return ()

    def init_state(self) -> Payload:
        """Return the state of a client that takes part for the first time."""
        return {}

    def initial_state(self) -> Payload:
        """Return what ``init_state`` does, if it is sections.

        Raises
        ------
        UserError
            If it is something else.
        """
        state = self.init_state()
        check_returned(state, f"what {type(self).__name__}.init_state returns")
        return state

    def keeps(self) -> Collection[str]:
        """Return ``KEEPS``, or what depends on parameters; where neither is given, what ``init_state`` has.

        Nothing else may be in ``state`` after a round. Who keeps nothing may change size, and costs no
        messages for checkpoints.
        """
        return self.KEEPS or tuple(self.initial_state())

    def kept_form(self) -> Payload:
        """Return tensors with the names, shapes and dtypes of what is in ``state``, by section (``*``: any).

        A state that a server sends is compared with it; sections that are left out are not. By default what
        ``init_state`` returns, and what ``KEEPS`` says is like the model.
        """
        models = self.KEEPS if isinstance(self.KEEPS, Mapping) else ()
        return {**dict.fromkeys(models, self.worker.state), **self.initial_state()}

    def receives(self) -> Mapping[str, Section]:
        """Return the sections that the server half sends in addition to the model; ``*`` is any number.

        Nothing else may be in a message, and nothing is computed from one that does not fit.
        """
        return {}

    def prelude(self) -> Payload:
        """Return what the server asks for before a round (``FedAvg.prelude_clients``), at the received model.

        It may replace ``state``.
        """
        return {}

    def begin_round(self) -> None:
        """Prepare the round: the model is loaded, ``received`` and ``state`` are there."""

    def initial_optimizer(self) -> Tensors:
        """Return what the round's optimiser begins with (``clients.local.optimizers.optimizer_state``)."""
        return {}

    def trained_names(self) -> Collection[str]:
        """Return the parameters that the next step trains; the others are frozen."""
        return self.params

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the scalar loss of a mini-batch: ``loss.name``, by default cross-entropy."""
        return self._loss(self.forward(params, batch.inputs), batch.targets)

    @functools.cached_property
    def _loss(self) -> Loss:
        return loss_of(self.worker.loss, self.label_counts)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradients that the optimiser is to use; ``batch`` is the mini-batch that they are of."""
        return grads

    def after_step(self, params: Tensors) -> None:
        """Act after an optimiser step."""

    def end_round(self, params: Tensors) -> Payload:
        """Update ``state`` and return the sections that go to the server in addition to the model."""
        return {}

    def personal_model(self) -> Tensors | None:
        """Return the entries in which this client's own model differs from the loaded one, if it has one."""
        return None

    def personal_predictor(self) -> Predictor:
        """Return what predicts for this client, from inputs to logits; its own model is loaded."""
        return self.worker.model

    def personal_predictors(self) -> dict[str, Predictor]:
        """Return what predicts for this client by name; the empty one is ``personal_predictor``."""
        return {"": self.personal_predictor()}

    @classmethod
    def defaults(cls, parameters: Mapping[str, Any]) -> Mapping[str, Value]:
        """Return ``DEFAULTS``, or others that depend on the method's own parameters."""
        return cls.DEFAULTS

    def overrides(self, hook: str) -> bool:
        """Return whether the method has a hook of its own."""
        return getattr(type(self), hook) is not getattr(Hooks, hook)

    # What hooks may use; `clients.base.Client` has more.

    def forward(self, params: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model with `params`; the resident model itself if they are its own."""
        if params is self.params:
            return self.noted(self.worker.model(inputs))
        return torch.func.functional_call(self.worker.model, params, (inputs,))  # type: ignore[no-any-return]

    def noted(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits of a step, from which the training accuracy is measured."""
        self.logits = logits.detach()
        return logits
