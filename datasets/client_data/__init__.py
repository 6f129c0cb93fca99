"""What a client is tested on, and which classes are head, middle and tail."""
