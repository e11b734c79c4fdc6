"""URLs of the customers app."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from customers import newsletter_views, views

urlpatterns = [
    path("register/", views.register, name="register"),
    path(
        "login/",
        LoginView.as_view(template_name="customers/login.html"),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("profile/", views.profile, name="profile"),
    path("newsletter/", newsletter_views.page, name="newsletter"),
    path("newsletter/subscribe/", newsletter_views.subscribe, name="subscribe"),
    path("newsletter/unsubscribe/", newsletter_views.unsubscribe, name="unsubscribe"),
    path("newsletter/unsubscribe/<str:token>/", newsletter_views.leave, name="leave"),
]
