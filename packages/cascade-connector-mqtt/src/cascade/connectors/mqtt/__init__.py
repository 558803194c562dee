"""Cascade's connector for MQTT brokers."""

from cascade.connectors.mqtt.connector import MqttConnector

__all__ = ["MqttConnector"]
