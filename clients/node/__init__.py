"""What a node does with a message: whose it is, what its client keeps, and each kind of job."""
