"""The pages of the site."""

from django.urls import path

from mysite.health import health
from orders import views

urlpatterns = [
    path("", views.index, name="index"),
    path("health/", health),
    path("<int:pk>/confirm/", views.confirm, name="confirm"),
]
