"""Local steps that change during a run: phases of post-local SGD, and an exact total."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_PHASE = re.compile(r"(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Phases:
    """The local steps of each client in each round, as a pure function of the round.

    A phase ends with the last round that fits into its nominal length, so that phases change between rounds:
    R_1 = s_1 // J_1 and R_i = R_{i-1} + (s_i - s_{i-1}) // J_i rounds are done at its end, where s_i is the
    nominal local step at which phase i + 1 begins (Gu et al. 2023, code of Local SGD for CIFAR).

    Attributes
    ----------
    steps_per_round : tuple of int
        J of each phase.
    last_rounds : tuple of int
        R of each phase except the last, which has no end.
    total_steps : int
        Local steps of a client in the whole run: the last round does the remaining ones; 0: no limit.
    """

    steps_per_round: tuple[int, ...]
    last_rounds: tuple[int, ...] = ()
    total_steps: int = 0

    @classmethod
    @functools.lru_cache(maxsize=64)  # asked in every round by every client
    def parse(cls, steps: int, text: str, total_steps: int = 0) -> "Phases":
        """Read the phases after the first one, ``"3000:600,3600"``: from which step on how many a round.

        Parameters
        ----------
        steps : int
            Local steps in a round of the first phase.
        text : str
            ``start`` or ``start:steps`` of each further phase, separated by commas; without ``:steps`` those
            of the phase before it. Empty: one phase.
        total_steps : int
            See the attribute.

        Raises
        ------
        ValueError
            If it is not such a list, or a phase would have no round.
        """
        all_steps, starts = [steps], [0]
        for part in (part.strip() for part in text.split(",") if text.strip()):
            match = _PHASE.fullmatch(part)
            if not match or int(match[1]) <= starts[-1] or match[2] == "0":
                raise ValueError(
                    "local.phases must list local steps in ascending order, each with the steps in a round"
                    f" from there on, such as '3000:600,3600:100', not '{text}'"
                )
            starts.append(int(match[1]))
            all_steps.append(int(match[2] or all_steps[-1]))
        last_rounds = [0]
        for (start, end), in_a_round in zip(pairwise(starts), all_steps, strict=False):
            if end - start < in_a_round:
                raise ValueError(
                    f"local.phases: the phase from local step {start} to {end} has no room for a round of"
                    f" {in_a_round} steps, so it would be skipped"
                )
            last_rounds.append(last_rounds[-1] + (end - start) // in_a_round)
        return cls(tuple(all_steps), tuple(last_rounds[1:]), total_steps)

    def phase(self, server_round: int) -> int:
        """Return the phase of a round, from 0; rounds count from 1."""
        return sum(server_round > last for last in self.last_rounds)

    def place(self, server_round: int) -> int:
        """Return the position of a round in its phase, from 1."""
        phase = self.phase(server_round)
        return server_round - (self.last_rounds[phase - 1] if phase else 0)

    def is_due(self, server_round: int, every: Sequence[int]) -> bool:
        """Return whether a round is an n-th one of its phase, with the phase's own n, or its last one.

        The counter restarts with each phase (Gu et al. 2023, code of Local SGD for CIFAR).
        """
        if server_round in self.last_rounds:
            return True
        return self.place(server_round) % every[self.phase(server_round)] == 0

    def first_step(self, server_round: int) -> int:
        """Return how many local steps a client has made before a round."""
        before = [min(last, server_round - 1) for last in (0, *self.last_rounds)] + [server_round - 1]
        done = sum(
            (end - start) * steps
            for (start, end), steps in zip(pairwise(before), self.steps_per_round, strict=True)
        )
        return min(done, self.total_steps) if self.total_steps else done

    def steps(self, server_round: int) -> int:
        """Return the local steps of a round: J of its phase, or the remainder of the total."""
        return self.first_step(server_round + 1) - self.first_step(server_round)

    def num_rounds(self, num_steps: int) -> int:
        """Return how many rounds a number of local steps takes; the last may be shorter."""
        rounds, done = 0, 0
        for end, steps in zip((*self.last_rounds, None), self.steps_per_round, strict=True):
            needed = -(-(num_steps - done) // steps)
            if end is None or needed <= end - rounds:
                return rounds + needed
            done += (end - rounds) * steps
            rounds = end
        return rounds
