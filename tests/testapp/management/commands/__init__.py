"""Commands of the tests, in the place of Django's."""
