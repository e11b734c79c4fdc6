"""django-domain-events: a log of events; relays run the receivers themselves."""
