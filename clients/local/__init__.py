"""The engine of local training: batches, loop, optimisers, losses, metrics, evaluation."""
