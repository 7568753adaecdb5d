from django.apps import AppConfig


class ChatGatewayConfig(AppConfig):
    name = "chatgateway"
    verbose_name = "Chat gateway"
