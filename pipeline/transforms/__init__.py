"""What each kind of column goes through: fitted statistics, forward ONNX ops, inverse ops.

One module per kind, the three side by side, so that a change to one is seen beside the others.
"""

from pipeline.transforms.categories import MAX_CLASSES, Categories
from pipeline.transforms.classes import Classes
from pipeline.transforms.scalars import Scalars
from pipeline.transforms.statistics import CLIP
from pipeline.transforms.table import TableFit
from pipeline.transforms.vectors import Vectors

__all__ = ["CLIP", "MAX_CLASSES", "Categories", "Classes", "Scalars", "TableFit", "Vectors"]
