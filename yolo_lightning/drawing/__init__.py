"""Boxes on pictures, legible at any size."""

from __future__ import annotations

from yolo_lightning.drawing.boxes import draw_detections
from yolo_lightning.drawing.colours import class_colour
from yolo_lightning.drawing.grid import draw_grid

__all__ = ["class_colour", "draw_detections", "draw_grid"]
