"""Nobody attacks."""

from clients.local.attacks import Attack


class NoAttack(Attack):
    """All clients are honest."""
