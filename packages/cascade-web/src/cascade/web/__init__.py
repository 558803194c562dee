"""The page that shows and steers engines in a browser: one HTML file that uses MQTT over WebSocket."""

from cascade.web._assembly import page

__all__ = ["page"]
