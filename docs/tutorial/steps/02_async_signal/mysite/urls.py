"""The pages of the site."""

from django.urls import path

from orders import views

urlpatterns = [
    path("", views.index, name="index"),
    path("<int:pk>/confirm/", views.confirm, name="confirm"),
]
