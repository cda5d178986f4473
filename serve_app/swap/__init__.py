"""One swap, from two files to one: swap.py is where to begin."""

from serve_app.stages import Stages as Stages
from serve_app.swap.errors import SwapError as SwapError
from serve_app.swap.memory import Sources as Sources
from serve_app.swap.swap import FaceLimits as FaceLimits
from serve_app.swap.swap import find_faces as find_faces
from serve_app.swap.swap import swap_faces as swap_faces
