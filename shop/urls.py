"""URLs of the shop."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

from shop import health, inbox, views
from shop.incident import views as incident

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
    path("orders/<int:pk>/proof/", views.send_proof, name="send-proof"),
    path("orders/<int:pk>/cancel/", views.cancel, name="cancel"),
    path("orders/<int:pk>/deliveries/", views.deliveries, name="deliveries"),
    path("inbox/", inbox.inbox, name="inbox"),
    path("inbox/<int:pk>/", inbox.mail, name="mail"),
    path("inbox/<int:pk>/html/", inbox.mail_html, name="mail-html"),
    path("favicon.ico", views.icon, name="icon"),
    path("health/", health.health, name="health"),
    path("signals/", include("signal_tasks.dashboard.urls")),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),  # in DEBUG only
]

if settings.SHOP_DEMO:
    urlpatterns += [
        path("incident/", incident.page, name="incident"),
        path("incident/now/", incident.now, name="incident-now"),
        path("incident/begin/", incident.begin, name="incident-begin"),
        path("incident/orders/", incident.confirm_orders, name="incident-orders"),
        path("incident/mail/break/", incident.break_mail, name="break-mail"),
        path("incident/mail/repair/", incident.repair_mail, name="repair-mail"),
        path("incident/replay/", incident.replay, name="replay"),
        path("incident/kill/", incident.kill_worker, name="kill-worker"),
    ]
