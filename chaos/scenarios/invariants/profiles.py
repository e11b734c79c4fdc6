"""Check profiles: each account has one, with the same names."""

from __future__ import annotations

from django.contrib.auth.models import User

from chaos.scenarios.invariants.comparison import Comparison, compare
from customers.models import CustomerProfile


def check_profiles() -> Comparison:
    """Compare the accounts with their profiles."""
    return compare(
        "account",
        "has a profile, with its names",
        User.objects.values_list("pk", "first_name", "last_name"),
        CustomerProfile.objects.values_list("user", "first_name", "last_name"),
    )
