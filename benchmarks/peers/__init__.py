"""One FedAvg workload in this system and in others, each a program of its own: see ``benchmarks/compare.py``.

A program does rounds as its system's users do them and waits between them (``turns.py``). It imports its own
system, torch and ``workload.py``, so that it runs in an environment that has no other.
"""
