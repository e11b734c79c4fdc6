"""The addresses of the shop."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("", views.catalogue, name="catalogue"),
    path("products/<slug:slug>/", views.product, name="product"),
    path("orders/", views.orders, name="orders"),
    path("orders/<int:pk>/", views.order, name="order"),
    path("orders/<int:pk>/confirm/", views.confirm, name="confirm"),
    path("orders/<int:pk>/deliveries/", views.deliveries, name="deliveries"),
    path("favicon.ico", views.icon, name="icon"),
    path("health/", views.health, name="health"),
    path("admin/", admin.site.urls),
]
