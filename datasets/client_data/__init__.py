"""Clients' test sets, natural clients, and the head, middle and tail groups of classes."""
