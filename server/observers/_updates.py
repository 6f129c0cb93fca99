"""The changes of the server model in chosen rounds (``analysis.update-rounds``)."""

import fnmatch

from safetensors.torch import save

from common.binary_files import order_of
from common.errors import UserError
from common.files import write_atomic
from common.records import to_tensors
from common.round_list import RoundList
from server.observers._observer import Observer, Round, nothing_sent, shared_parameters
from server.parts import Parts, Run


class Updates(Observer):
    """Writes ``updates/round-000010.safetensors``: the change of every requested entry.

    Raises
    ------
    UserError
        If clients send no entry with a requested name.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        section = parts.config.analysis
        self._rounds = RoundList(section.update_rounds, "analysis.update-rounds")
        state = parts.evaluation.model.state_dict()
        patterns = [part.strip() for part in section.update_layers.split(",") if part.strip()]
        self._names = [  # in the order of the model
            name
            for name, value in state.items()
            if value.is_floating_point()
            and name not in parts.clients.personal_names
            and (not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
        ]
        self._is_blind = bool(self._rounds) and not shared_parameters(parts)
        if self._rounds and not self._names and not self._is_blind:
            raise UserError(f"analysis.update-layers: no entry that clients send is like '{patterns[0]}'")

    def start(self, run: Run) -> None:
        """Report if there is nothing to record."""
        super().start(run)
        if self._is_blind:
            run.progress.note(f"analysis.update-rounds {nothing_sent(self.parts)}: nothing is recorded")

    def on_train(self, current: Round) -> None:
        """Write the changes, if the strategy returned a model."""
        arrays, start = current.aggregated, current.start
        if arrays is None or current.number not in self._rounds:
            return
        chosen = [name for name in self._names if name in arrays and name in start]
        before = to_tensors({name: start[name] for name in chosen})
        after = to_tensors({name: arrays[name] for name in chosen})
        update = {name: (after[name].double() - before[name].double()).float() for name in chosen}
        folder = self.run.run_directory.path / "updates"
        folder.mkdir(exist_ok=True)
        content = save(update, metadata=order_of(update))
        write_atomic(folder / f"round-{current.number:06d}.safetensors", content)
