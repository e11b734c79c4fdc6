"""The receivers of new users."""

from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.db.models.signals import post_save
from signal_tasks import async_receiver


def is_new(sender, created, **kwargs):
    return created


@async_receiver(post_save, sender=User, when=is_new, atomic=False, queue="email")
def welcome(sender, instance, **kwargs):
    send_mail("Welcome", f"Hello {instance.username}!", None, [instance.email])
