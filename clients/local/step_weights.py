"""The weights a_k of the local gradients in a client's change: x - y = lr * sum_k a_k g_k."""


def step_weight_norm(
    num_steps: int, momentum: float = 0.0, damping: float = 0.0, nesterov: bool = False
) -> float:
    """Return ||a||_1 for SGD (Wang et al. 2020, FedNova, section 4).

    Found by feeding a unit gradient to the solver's recursion at every step: v <- momentum v + g, and for a
    proximal term of weight mu, g <- g + mu (w - x). With neither, it is the number of steps.

    Parameters
    ----------
    num_steps : int
        Local steps.
    momentum : float
        Momentum coefficient, in PyTorch's convention.
    damping : float
        Learning rate times mu.
    nesterov : bool
        Whether a step is g + momentum v instead of v.
    """
    velocity = distance = 0.0  # of x - w, in units of the learning rate
    for _ in range(num_steps):
        gradient = 1.0 - damping * distance
        velocity = momentum * velocity + gradient
        distance += gradient + momentum * velocity if nesterov else velocity
    return distance
