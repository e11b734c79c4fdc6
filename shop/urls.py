"""The addresses of the shop."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

from shop import inbox, machine, views

admin.site.site_header = admin.site.site_title = "Signal & Sons"

urlpatterns = [
    path("", include("customers.urls")),
    path("", include("notifications.urls")),
    path("", include("products.urls")),
    path("", views.catalogue, name="catalogue"),
    path("products/<slug:slug>/", views.product, name="product"),
    path("basket/", views.basket, name="basket"),
    path("basket/change/", views.change_basket, name="change-basket"),
    path("basket/order/", views.order_basket, name="order-basket"),
    path("orders/", views.orders, name="orders"),
    path("orders/<int:pk>/", views.order, name="order"),
    path("orders/<int:pk>/confirm/", views.confirm, name="confirm"),
    path("orders/<int:pk>/cancel/", views.cancel, name="cancel"),
    path("orders/<int:pk>/deliveries/", views.deliveries, name="deliveries"),
    path("inbox/", inbox.inbox, name="inbox"),
    path("inbox/<int:pk>/", inbox.mail, name="mail"),
    path("inbox/<int:pk>/html/", inbox.mail_html, name="mail-html"),
    path("favicon.ico", views.icon, name="icon"),
    path("health/", views.health, name="health"),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),  # in DEBUG only
]

if settings.SHOP_DEMO:
    urlpatterns += [
        path("machine/", machine.machine, name="machine"),
        path("machine/books/", machine.books, name="books"),
        path("machine/orders/", machine.confirm_many, name="machine-orders"),
        path("machine/mail/break/", machine.break_mail, name="break-mail"),
        path("machine/mail/mend/", machine.mend_mail, name="mend-mail"),
        path("machine/replay/", machine.replay, name="replay"),
        path("machine/kill/", machine.kill_worker, name="kill-worker"),
    ]
