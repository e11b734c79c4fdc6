"""The smallest Django project that places orders; each contender reacts to them."""
