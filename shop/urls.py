"""URLs of the shop."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

from shop import health, inbox, views
from shop.fault_demo import views as fault_demo

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
        path("machine/", fault_demo.page, name="fault-demo"),
        path("machine/totals/", fault_demo.totals, name="fault-demo-totals"),
        path("machine/emails/", fault_demo.emails, name="fault-demo-emails"),
        path("machine/orders/", fault_demo.confirm_orders, name="fault-demo-orders"),
        path("machine/mail/break/", fault_demo.break_mail, name="break-mail"),
        path("machine/mail/repair/", fault_demo.repair_mail, name="repair-mail"),
        path("machine/replay/", fault_demo.replay, name="replay"),
        path("machine/kill/", fault_demo.kill_worker, name="kill-worker"),
    ]
