"""A constant learning rate."""

from common.schedules import Schedule


class Constant(Schedule):
    """Keeps the rate constant."""

    depends_on_length = False
