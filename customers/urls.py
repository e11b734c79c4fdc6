"""URLs of the customers app."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from customers import newsletter_views, proof_views, views

urlpatterns = [
    path("register/", views.register, name="register"),
    path("register/<str:token>/", views.register_account, name="register-account"),
    path("proof/<str:token>/", proof_views.prove, name="prove"),
    path(
        "login/",
        LoginView.as_view(template_name="customers/login.html"),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("profile/", views.profile, name="profile"),
    path("newsletter/", newsletter_views.page, name="newsletter"),
    path("newsletter/subscribe/", newsletter_views.subscribe, name="subscribe"),
    path("newsletter/join/<str:token>/", newsletter_views.join, name="join"),
    path("newsletter/unsubscribe/", newsletter_views.unsubscribe, name="unsubscribe"),
    path("newsletter/unsubscribe/<str:token>/", newsletter_views.leave, name="leave"),
]
