"""One HTML file that shows what a detector gets right and wrong, picture by picture, and needs no network."""

from __future__ import annotations

from yolo_lightning.report.content import ReportContent, select_content
from yolo_lightning.report.page import write_page
from yolo_lightning.report.pictures import PictureFinder, encode_picture

__all__ = ["PictureFinder", "ReportContent", "encode_picture", "select_content", "write_page"]
