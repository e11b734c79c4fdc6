"""URLs of the products app."""

from __future__ import annotations

from django.urls import path

from products import views

urlpatterns = [
    path("products/<slug:slug>/reviews/", views.reviews, name="reviews"),
]
