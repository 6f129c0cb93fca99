"""The hooks of local training that a method may override; the defaults are FedAvg's."""

import functools
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from clients.local.batches import Batch
from clients.local.incoming import Section
from clients.local.job import Job
from clients.local.losses import Loss, loss_of
from common.config import Config
from common.package_modules import is_in
from common.parameters import Needs
from common.records import Payload, Tensors
from common.sections import Value
from models.classifier import as_classifier, embed_with

Predictor = Callable[[torch.Tensor], torch.Tensor]


class Hooks(Job):
    """The hooks, in the order in which a run and its rounds call them.

    They are pure tensor code over name → tensor mappings, and may use the attributes of
    ``clients.local.job.Job``.

    Attributes
    ----------
    batch : Batch
        The mini-batch of the current step, in ``correct_gradients``.
    """

    DEFAULTS: ClassVar[dict[str, Value]] = {}
    """The method's own defaults for keys outside ``method``, such as ``model.projection``."""

    EXAMPLE: ClassVar[dict[str, Value]] = {}
    """Keys of a small example run of the method, where the defaults are too large or do not fit."""

    NEEDS: ClassVar[Mapping[str, Needs]] = {}
    """Parameter → what it needs to have an effect; without that, setting it is an error."""

    NEEDS_CLASSES: ClassVar[bool] = False
    """Whether the method counts, weights or compares classes, so that regression targets are refused."""

    NEEDS_ONE_LABEL: ClassVar[bool] = False
    """Whether the method needs one label per sample, unlike text, which has one per position."""

    NEEDS_ONE_RATE: ClassVar[bool] = False
    """Whether the method computes with one learning rate per round, which must not change within it."""

    RECEIVES_OWN_MODEL: ClassVar[bool] = False
    """Whether the server half sends each client its own model, with which the client then predicts."""

    AFTER_STEP_IS_ELEMENTWISE: ClassVar[bool] = False
    """Whether ``after_step``, its own optimisers included, is elementwise, so that it may be called once for
    the stacked tensors of several clients (``runtime.stack``)."""

    RENAMED = MappingProxyType(
        {
            **dict.fromkeys(("KEEPS", "keeps", "kept_form"), "state_form"),
            "leaks": "how_data_leak",
            "IS_SENT_ITS_OWN": "RECEIVES_OWN_MODEL",
            "STEPS_STACKS": "AFTER_STEP_IS_ELEMENTWISE",
        }
    )
    """Former name → the one that has replaced it."""

    batch: Batch

    def validate(self) -> None:
        """Raise a `UserError` if the method cannot work with this configuration; before any training."""

    def assumes_sgd(self) -> bool:
        """Return whether the method's formulas hold for unclipped SGD only, like ``gradient_of_steps``."""
        return False

    @classmethod
    def depends_on_rounds(cls, parameters: Mapping[str, Any]) -> bool:
        """Return whether what the method does in a round depends on the total number of rounds."""
        return False

    @classmethod
    def how_data_leak(cls, config: Config, has_validation: bool) -> str:
        """Return how other clients' data would reach the client; empty if they would not."""
        return ""

    def personal_names(self) -> Collection[str]:
        """Return the entries of the model that stay on the client and are never sent.

        A new client starts with the values of the initial model.
        """
        return ()

    def init_state(self) -> Payload:
        """Return the state of a client that takes part for the first time."""
        return {}

    def state_form(self) -> Payload:
        """Return tensors with the names, shapes and dtypes of all that ``state`` may hold, by section.

        By default those of ``init_state``; ``*`` in a section's name matches any number. Nothing else may be
        in ``state`` after a round, and a state that the server sends is checked against it. A client that
        keeps nothing may change its model size between rounds, and needs no messages for checkpoints.
        """
        return self.init_state()

    def receives(self) -> Mapping[str, Section]:
        """Return the sections that the server half sends in addition to the model; ``*`` matches any number.

        A message with anything else, or with a section of another form, is refused.
        """
        return {}

    def prelude(self) -> Payload:
        """Return what the server asks for before a round (``FedAvg.prelude_clients``), at the received model.

        May replace ``state``.
        """
        return {}

    def begin_round(self) -> None:
        """Prepare the round; the model is loaded, and ``received`` and ``state`` are set."""

    def initial_optimizer(self) -> Tensors:
        """Return the optimiser state that the round starts with, as ``optimizer_state`` returns it."""
        return {}

    def trained_names(self) -> Collection[str]:
        """Return the parameters that the next step trains; the others are frozen."""
        return self.params

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the loss of a mini-batch: ``loss.name``, by default cross-entropy.

        A scalar tensor of floating-point numbers with a gradient; anything else is an error.
        """
        return self._loss(self.forward(params, batch.inputs), batch.targets)

    @functools.cached_property
    def _loss(self) -> Loss:
        return loss_of(self.worker.loss, self.target_counts)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradients for the optimiser, given those of the mini-batch ``self.batch``.

        The result has a gradient for every name in `grads` and no other: leaving one out is an error, since
        it could mean the gradient as it is (return ``grads[name]``) or none (return zeros). `grads` has no
        entries for parameters that the step does not train.
        """
        return grads

    def after_step(self, params: Tensors) -> None:
        """Act after an optimiser step."""

    def end_round(self, params: Tensors) -> Payload:
        """Update ``state`` and return the sections that go to the server in addition to the model.

        The section ``"arrays"`` replaces entries of the model that is sent, such as by compressed ones; do
        not write into `params` for that, since clients of a stack do not send them.
        """
        return {}

    def personal_model(self) -> Tensors | None:
        """Return the entries in which the client's own model differs from the loaded one, if it has one."""
        return None

    def personal_predictor(self) -> Predictor:
        """Return this client's predictor, from inputs to logits; its personal model is loaded."""
        return self.worker.model

    def personal_predictors(self) -> dict[str, Predictor]:
        """Return this client's predictors by name; the empty name is ``personal_predictor``."""
        return {"": self.personal_predictor()}

    @classmethod
    def defaults(cls, parameters: Mapping[str, Any]) -> Mapping[str, Value]:
        """Return ``DEFAULTS``, or defaults that depend on the method's parameters."""
        return cls.DEFAULTS

    @classmethod
    def overrides(cls, hook: str) -> bool:
        """Return whether the method overrides a hook."""
        return getattr(cls, hook) is not getattr(Hooks, hook)

    @property
    def is_from_outside(self) -> bool:
        """Whether the method's class is not one of the project's."""
        return not is_in(type(self), "clients")

    # Helpers for hooks; `clients.local.helpers` has more.

    def zeros(self) -> Tensors:
        """Return zeros with the names, shapes and types of ``params``."""
        return {name: torch.zeros_like(value.detach()) for name, value in self.params.items()}

    def forward(self, params: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model with `params`; the resident model runs if they are its own."""
        if params is self.params:
            return self.noted(self.worker.model(inputs))
        return torch.func.functional_call(self.worker.model, params, (inputs,))  # type: ignore[no-any-return]

    def features(self, params: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the head of the model with `params` takes, (samples, d).

        Raises
        ------
        UserError
            If the model does not show its features (``models.classifier.Classifier``).
        """
        model = as_classifier(self.worker.model)
        return model.embed(inputs) if params is self.params else embed_with(model, params, inputs)

    def features_and_logits(self, params: Tensors, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the `features`, and the head's logits of them, as `forward`; errors as `features`."""
        features = self.features(params, inputs)
        head = as_classifier(self.worker.model).classifier
        own = {name: params.get(f"classifier.{name}", value) for name, value in head.named_parameters()}
        logits = torch.func.functional_call(head, own, (features,))
        return features, self.noted(logits) if params is self.params else logits

    def noted(self, logits: torch.Tensor) -> torch.Tensor:
        """Record the logits of a step, from which the training accuracy is measured, and return them."""
        self.logits = logits.detach()
        return logits
