"""How a node handles a message: the client it is for, the state that the client keeps, each kind of job."""
