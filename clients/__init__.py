"""Client halves of the methods, local training, optimisers, and the Flower ClientApp."""
